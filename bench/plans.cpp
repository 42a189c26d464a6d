#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include "bench/cases.h"
#include "fewbits/aggregator.h"
#include "fewbits/codec.h"
#include "fewbits/error.h"
#include "registry.h"

namespace fewbits::bench {
namespace {

constexpr std::uint64_t kSeed = 42;
constexpr std::uint32_t kRound = 3;
constexpr std::uint32_t kClients = 4;   // a round's, where one plan is measured

Context context_of(std::uint32_t client, std::uint32_t cohort) {
  return {kSeed, kRound, client, {client % cohort, cohort}};
}

// A matrix where the size allows, since some stages see rows and columns.
Layout layout_of(std::size_t n) {
  const std::size_t rows = std::size_t{1} << (static_cast<unsigned>(std::bit_width(n) - 1) / 2);
  return Layout({{"weight", {rows, n / rows}}});
}

struct Round {
  Round(const std::string& plan, const Layout& layout, std::uint32_t clients)
      : codec(Codec::compile(plan, layout)), cohort(std::max(codec.describe().cohort, 1u)), update(normal(codec.elements())) {
    for (std::uint32_t client = 0; client < clients; ++client)
      frames.push_back(codec.encode(*update, context_of(client, cohort)));
  }

  RoundContext context() const { return {kSeed, kRound, cohort}; }
  Contribution from(std::uint32_t client) const { return {client, 1, client % cohort}; }
  RunContext run(std::uint32_t client) const { return {kSeed, {client % cohort, cohort}}; }

  Codec codec;
  std::uint32_t cohort;
  Shared<float> update;
  std::vector<std::vector<std::byte>> frames;
};

Case encode_case(const std::shared_ptr<Round>& round, const std::string& name) {
  return {name, Kind::kSubject, repeated([round, encoder = std::make_shared<Encoder>(round->codec)] {
            benchmark::DoNotOptimize(encoder->encode(*round->update, context_of(0, round->cohort)).data());
          })};
}

Case decode_case(const std::shared_ptr<Round>& round, const std::string& name) {
  return {name, Kind::kSubject, repeated([round] {
            benchmark::DoNotOptimize(round->codec.decode(round->frames[0], round->run(0)).data());
          })};
}

// A frame into a sum that is there. Each client is taken once, so every fourth time the sum begins anew, with zeros.
Case aggregate_case(const std::shared_ptr<Round>& round, const std::string& name) {
  struct Sum {
    Aggregator aggregator;
    std::uint32_t next = 0;
  };
  const auto sum = std::make_shared<Sum>(Sum{Aggregator(round->codec, round->context())});
  return {name, Kind::kSubject, repeated([round, sum] {
            if (sum->next == round->frames.size()) *sum = {Aggregator(round->codec, round->context())};
            sum->aggregator.add(round->frames[sum->next], round->from(sum->next));
            ++sum->next;
          })};
}

std::vector<Case> plan_cases(const std::string& plan, std::size_t n) {
  const auto round = std::make_shared<Round>(plan, layout_of(n), kClients);
  std::vector<Case> cases = {encode_case(round, "encode"), decode_case(round, "decode"), aggregate_case(round, "aggregate"),
                             copy_case(n), generator_case(n)};
  // The portable target takes long, and says the same at any size.
  if (n > 1u << 16)
    for (Case& one : cases) one.twin = false;
  if (plan == "f32") {
    cases.push_back({"encode + aggregate", Kind::kSubject, [encode = cases[0].run, add = cases[2].run](std::size_t times) {
                       encode(times);
                       add(times);
                     }, 2, false});
    cases.push_back(copy_and_hash_case(n));
  }
  return cases;
}

// Required parameters of stages by name, and of those that can be left out the one that the stage cannot do without.
std::string value_of(const ParameterSpec& spec) {
  if (!spec.default_value.empty()) return "";
  if (spec.name == "bits") return "2";
  if (spec.name == "keep") return "0.1";
  if (spec.name == "rank" || spec.name == "levels" || spec.name == "cohort") return "4";
  if (spec.optional) return "";
  const double middle = spec.type == ParameterType::kInteger ? std::floor((spec.min + spec.max) / 2) : (spec.min + spec.max) / 2;
  char text[40];
  return {text, std::to_chars(text, text + sizeof text, middle, std::chars_format::fixed).ptr};
}

std::string text_of(const StageDescriptor& stage) {
  std::string text(stage.name);
  for (const ParameterSpec& spec : stage.parameters)
    if (const std::string value = value_of(spec); !value.empty())
      text += (text == stage.name ? ":" : ",") + std::string(spec.name) + "=" + value;
  return text;
}

// Sums in the domain of the rotation, against decoding each frame by itself and adding it up.
struct Hundred {
  explicit Hundred(std::size_t n) : round("hadamard+quantize:bits=4", Layout(n), 100), sum(n) {
    for (std::uint32_t client = 0; client < round.frames.size(); ++client)
      submissions.push_back({round.frames[client], round.from(client)});
  }

  void add_each() {
    Aggregator aggregator(round.codec, round.context());
    for (const Submission& submission : submissions) aggregator.add(submission.frame, submission.from);
    benchmark::DoNotOptimize(aggregator.mean().data());
  }
  void add_many() {
    Aggregator aggregator(round.codec, round.context());
    benchmark::DoNotOptimize(aggregator.add_many(submissions).data());
    benchmark::DoNotOptimize(aggregator.mean().data());
  }
  void invert_each() {
    std::ranges::fill(sum, 0.0);
    for (std::uint32_t client = 0; client < round.frames.size(); ++client) {
      const std::vector<float> decoded = round.codec.decode(round.frames[client], round.run(client));
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(decoded[i]);
    }
  }

  Round round;
  std::vector<Submission> submissions;
  std::vector<double> sum;
};

std::vector<Case> hundred_clients(std::size_t n) {
  const auto all = std::make_shared<Hundred>(n);
  return {{"add_many", Kind::kSubject, repeated([all] { all->add_many(); }), 100, false},
          {"add", Kind::kSubject, repeated([all] { all->add_each(); }), 100, false},
          {"inverting each", Kind::kYardstick, repeated([all] { all->invert_each(); }), 100},
          copy_case(n)};
}

class Threads final : public Executor {
 public:
  explicit Threads(int count) : arena_(count) {}
  std::size_t threads() const override { return static_cast<std::size_t>(arena_.max_concurrency()); }
  void run(std::size_t count, const std::function<void(std::size_t)>& task) override {
    arena_.execute([&] { tbb::parallel_for(std::size_t{0}, count, task); });
  }

 private:
  mutable tbb::task_arena arena_;
};

// One sweep, into a sum that begins with zeros each time.
struct Sixteen {
  explicit Sixteen(std::size_t n) : round("quantize:bits=4", Layout(n), 16) {
    for (std::uint32_t client = 0; client < 16; ++client) submissions.push_back({round.frames[client], round.from(client)});
  }
  void add_many(Executor* executor) {
    Aggregator aggregator(round.codec, round.context());
    benchmark::DoNotOptimize(aggregator.add_many(submissions, executor).data());
  }

  Round round;
  std::vector<Submission> submissions;
  Threads two{2};
};

std::vector<Case> sixteen_clients(std::size_t n) {
  const auto all = std::make_shared<Sixteen>(n);
  return {{"add_many", Kind::kSubject, repeated([all] { all->add_many(nullptr); }), 16}, copy_case(n), scale_case(n)};
}

// The coordinates shared out between two threads.
std::vector<Case> sixteen_clients_by_two(std::size_t n) {
  const auto all = std::make_shared<Sixteen>(n);
  return {{"two threads", Kind::kSubject, repeated([all] { all->add_many(&all->two); }), 16, false},
          {"one thread", Kind::kYardstick, repeated([all] { all->add_many(nullptr); }), 16, false}};
}

}  // namespace

std::vector<Group> stage_groups(std::span<const unsigned> sizes) {
  std::vector<Group> groups;
  const auto add = [&](std::string_view role, const StageDescriptor& stage, const std::string& plan) {
    for (const unsigned log2 : sizes)
      groups.push_back({"stage/" + std::string(stage.name) + " (" + std::string(role) + ")", log2, log2 > 16,
                        [plan, log2] { return plan_cases(plan, std::size_t{1} << log2); }});
  };
  for (const StageDescriptor* stage : registry()) {
    const std::string text = text_of(*stage);
    if (stage->make_transform) add("transform", *stage, text + "+f32");
    if (stage->make_quantizer) add("quantizer", *stage, text);
    if (stage->make_coder) add("coder", *stage, "quantize:bits=4+" + text);
    if (stage->make_family) add("structure", *stage, "train=" + text + " | f32");
  }
  return groups;
}

std::vector<Group> plan_groups(std::span<const unsigned> sizes) {
  std::vector<std::string> plans = {"f32", "hadamard+quantize:bits=4", "eden:bits=1", "stc:keep=0.01"};
  for (const char* bits : {"2", "1", "0.1", "0.01"})
    for (const char* states : {"8", "64", "256"})
      plans.push_back("trellis:bits=" + std::string(bits) + ",states=" + states);
  plans.emplace_back("trellis:bits=0.03");
  std::vector<Group> groups;
  for (const std::string& plan : plans)
    for (const unsigned log2 : sizes)
      groups.push_back({"plan/" + plan, log2, log2 > 20, [plan, log2] { return plan_cases(plan, std::size_t{1} << log2); }});
  return groups;
}

std::vector<Group> aggregation_groups(std::span<const unsigned> sizes) {
  std::vector<Group> groups;
  for (const unsigned log2 : sizes) {
    const std::size_t n = std::size_t{1} << log2;
    groups.push_back({"aggregation/16 clients, 4 bits", log2, false, [n] { return sixteen_clients(n); }});
    groups.push_back({"aggregation/16 clients, 4 bits, two threads", log2, log2 < 20, [n] { return sixteen_clients_by_two(n); }});
    groups.push_back({"aggregation/100 clients, 4 bits, rotated", log2, log2 > 20, [n] { return hundred_clients(n); }});
  }
  return groups;
}

}  // namespace fewbits::bench
