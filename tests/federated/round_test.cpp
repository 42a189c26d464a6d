#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <variant>

#include "federated/checkpoint.h"
#include "federated/plan_entry.h"
#include "federated/sampling.h"
#include "fewbits/aggregator.h"
#include "fewbits/downlink.h"
#include "fewbits/error.h"
#include "fewbits/error_feedback.h"
#include "fewbits/federated/federated.h"
#include "fewbits/shift.h"
#include "synthetic_task.h"

// Rounds over simulated links, against a server and clients that the test builds of the library's parts alone.
namespace fewbits::federated {
namespace {

Options options(const std::string& links) {
  Options result;
  result.seed = 11;
  result.rounds = 6;
  result.clients_per_round = 5;
  result.epochs = 2;
  result.batch = 8;
  result.links = parse_links(links);
  return result;
}

PlanOptions plan_of(const std::string& text) { return parse_plan_entry(text, {}).options; }

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// All but what the clock says.
void expect_same(const RoundResult& a, const RoundResult& b) {
  EXPECT_EQ(a.round, b.round);
  EXPECT_EQ(a.score, b.score);
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(a.clients, b.clients);
  EXPECT_EQ(a.asked, b.asked);
  EXPECT_EQ(a.examples, b.examples);
  EXPECT_EQ(a.frames, b.frames);
  EXPECT_EQ(a.upload_bytes, b.upload_bytes);
  EXPECT_EQ(a.wasted_bytes, b.wasted_bytes);
  EXPECT_EQ(a.download_bytes, b.download_bytes);
  EXPECT_EQ(a.simulated_seconds, b.simulated_seconds);
}

// Does each of a trainer's rounds again, from the updates that it is shown: which clients, which frames arrive, what they
// add up to, and what clients remember.
class Referee {
 public:
  Referee(const SyntheticTask& synthetic, const Options& the_options, const std::string& plan)
      : options_(the_options), plan_(plan_of(plan)), synthetic_(synthetic), links_(*options_.links, options_.seed),
        trainer_(synthetic.task, options_, plan_), codec_(trainer_.codec()), model_(copy(trainer_.parameters())) {
    trainer_.observe(1000, [this](const ClientUpdate& update) {
      const std::lock_guard lock(mutex_);
      updates_[update.client] = copy(update.values);
    });
    if (plan_.feedback == Feedback::kEf21) server_.emplace(codec_, ShiftMethod::kEf21);
    if (plan_.feedback == Feedback::kDiana) server_.emplace(codec_, ShiftMethod::kDiana, plan_.shift);
  }

  // Expects the trainer's next round to be as it should. Its frames that did not arrive, by client.
  std::set<std::uint32_t> expect_round() {
    updates_.clear();
    const std::optional<RoundResult> got = trainer_.step();
    if (!got) throw std::runtime_error(trainer_.stopped());
    const std::uint32_t round = got->round;
    const std::vector<std::uint32_t> cohort = cohort_of(round);
    EXPECT_EQ(got->asked, cohort.size());
    EXPECT_EQ(updates_.size(), cohort.size());

    const auto size = static_cast<std::uint32_t>(std::max<std::size_t>(cohort.size(), 1));
    std::vector<std::vector<std::byte>> frames;
    std::vector<Delivery> deliveries;
    for (std::uint32_t place = 0; place < cohort.size(); ++place) {
      const std::uint32_t client = cohort[place];
      frames.push_back(encode(updates_.at(client), {options_.seed, round, client, {place, size}}));
      const ClientWork work{.download_bytes = 4 * model_.size(), .examples = examples_of(client) * options_.epochs};
      deliveries.push_back(links_.deliver(round, client, work, frames.back().size()));
      expected_.upload_bytes += deliveries.back().bytes_sent;
      expected_.download_bytes += 4 * model_.size();
    }
    const RoundOutcome outcome = close_round(deliveries, options_.clients_per_round, links_.options().deadline);
    Aggregator sum(codec_, {options_.seed, round, size});
    std::set<std::uint32_t> missing(cohort.begin(), cohort.end());
    expected_.examples = 0;
    for (std::uint32_t place = 0; place < cohort.size(); ++place) {
      const std::uint32_t client = cohort[place];
      if (!std::ranges::binary_search(outcome.accepted, client)) continue;
      sum.add(frames[place], {client, static_cast<double>(examples_of(client)), place});
      missing.erase(client);
      expected_.examples += examples_of(client);
    }
    remember(cohort, missing);
    if (sum.clients() > 0) {
      const std::vector<float> mean = server_ ? server_->update(sum, population()) : sum.mean();
      for (std::size_t i = 0; i < model_.size(); ++i) model_[i] += mean[i];
    }
    expected_.wasted_bytes += outcome.bytes_wasted;
    expected_.simulated_seconds += outcome.seconds;
    expected_.frames += sum.clients();

    EXPECT_TRUE(same_bits(trainer_.parameters(), model_)) << round;
    EXPECT_EQ(got->clients, sum.clients());
    EXPECT_EQ(got->examples, expected_.examples);
    EXPECT_EQ(got->frames, expected_.frames);
    EXPECT_EQ(got->upload_bytes, expected_.upload_bytes);
    EXPECT_EQ(got->wasted_bytes, expected_.wasted_bytes);
    EXPECT_EQ(got->download_bytes, expected_.download_bytes);
    EXPECT_EQ(got->simulated_seconds, expected_.simulated_seconds);
    expect_memories();
    return missing;
  }

  const RoundResult& totals() const { return expected_; }
  std::size_t examples_of(std::uint32_t client) const { return synthetic_.rows_of_each[client].size(); }

 private:
  using Memory = std::variant<ErrorFeedback, Shift>;

  std::vector<std::uint32_t> cohort_of(std::uint32_t round) const {
    std::vector<std::uint32_t> cohort;
    for (const std::uint32_t client :
         sample_clients(options_, links_.asked(options_.clients_per_round), synthetic_.rows_of_each.size(), round))
      if (!links_.away(round, client) && examples_of(client) > 0) cohort.push_back(client);
    return cohort;
  }

  std::vector<std::byte> encode(const std::vector<float>& update, const Context& context) {
    if (plan_.feedback == Feedback::kNone) return codec_.encode(update, context);
    const auto client = static_cast<std::uint32_t>(context.client);
    if (!memories_.contains(client)) {
      const FeedbackMethod method = plan_.feedback == Feedback::kEf21 ? FeedbackMethod::kEf21 : FeedbackMethod::kEf14;
      memories_.emplace(client, plan_.feedback == Feedback::kDiana ? Memory(Shift(codec_, plan_.shift))
                                                                   : Memory(ErrorFeedback(codec_, {.method = method})));
    }
    return std::visit([&](auto& own) { return own.encode(update, context); }, memories_.at(client));
  }

  void remember(const std::vector<std::uint32_t>& cohort, const std::set<std::uint32_t>& missing) {
    if (plan_.feedback == Feedback::kNone) return;
    for (const std::uint32_t client : cohort)
      std::visit([&](auto& own) { if (missing.contains(client)) own.abandon(); else own.commit(); }, memories_.at(client));
  }

  double population() const {
    if (plan_.feedback == Feedback::kDiana) return 400;   // all examples
    double seen = 0;
    for (const auto& [client, memory] : memories_)
      if (std::visit([](const auto& own) { return own.round().has_value(); }, memory)) seen += static_cast<double>(examples_of(client));
    return seen;
  }

  void expect_memories() const {
    const auto saved = Checkpoint::from_bytes(trainer_.save()).states.clients;
    for (const auto& [client, memory] : memories_)
      EXPECT_EQ(saved.at(client), std::visit([](const auto& own) { return own.save(); }, memory)) << client;
    EXPECT_EQ(saved.size(), memories_.size());
  }

  Options options_;
  PlanOptions plan_;
  const SyntheticTask& synthetic_;
  Links links_;
  Trainer trainer_;
  Codec codec_;
  std::vector<float> model_;
  std::map<std::uint32_t, Memory> memories_;
  std::optional<ServerShift> server_;
  RoundResult expected_;
  std::mutex mutex_;
  std::map<std::uint32_t, std::vector<float>> updates_;
};

// A frame of f32 takes 1.3 s at 0.01 Mbit/s, one of two bits 0.1 s.
const char* const kNetworks[] = {"lost=0.5", "up=0.01,deadline=1.6", "up=0.01,over=1.8", "away=0.5",
                                 "up=0.01,lost=0.3,away=0.2,over=1.5,deadline=2.5,fade=0.3,patience=10"};
const char* const kLinkedPlans[] = {"f32", "hadamard+quantize:bits=2", "mask:keep=0.25,seed=client+f32", "trellis:bits=2", "bf16+zstd",
                                    "dither:bits=2,correlated=1", "mask:keep=0.3+f32 @ feedback=ef14", "topk:keep=0.1+f32 @ feedback=ef14",
                                    "mask:keep=0.3+f32 @ feedback=ef21",
                                    "mask:keep=0.5,seed=round+f32 @ feedback=diana,feedback-rate=0.5"};

class EveryNetwork : public testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  std::string network() const { return std::get<0>(GetParam()); }
  std::string plan() const { return std::get<1>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(All, EveryNetwork, testing::Combine(testing::ValuesIn(kNetworks), testing::ValuesIn(kLinkedPlans)));

// What does not arrive leaves no trace: neither in the mean, nor in what a client remembers.
TEST_P(EveryNetwork, ARoundIsTheMeanOfTheFramesThatArrived) {
  const SyntheticTask synthetic;
  Referee referee(synthetic, options(network()), plan());
  for (int round = 0; round < 6; ++round) referee.expect_round();
  EXPECT_GT(referee.totals().frames, 0u);
  if (network().starts_with("lost") || network().find("over") != std::string::npos) {
    EXPECT_GT(referee.totals().wasted_bytes, 0u);
  }
}

struct Result {
  std::vector<RoundResult> rounds;
  std::vector<std::byte> state;
};

Result trained(const Task& task, const Options& of, const std::string& plan) {
  Trainer trainer(task, of, plan_of(plan));
  Result result;
  run(trainer, [&](const RoundResult& round) {
    result.rounds.push_back(round);
    return true;
  });
  result.state = trainer.save();
  return result;
}

void expect_same(const Result& a, const Result& b) {
  ASSERT_EQ(a.rounds.size(), b.rounds.size());
  for (std::size_t i = 0; i < a.rounds.size(); ++i) expect_same(a.rounds[i], b.rounds[i]);
  EXPECT_EQ(a.state, b.state);
}

TEST_P(EveryNetwork, ResultsDoNotDependOnTheNumberOfThreads) {
  const SyntheticTask synthetic;
  // One trainer after the other: while one lives, no other has more threads than it.
  Options of = options(network());
  of.threads = 1;
  const Result one = trained(synthetic.task, of, plan());
  of.threads = 3;
  expect_same(one, trained(synthetic.task, of, plan()));
}

// What a trainer has to remember of the rounds before, all at once.
class EveryState : public testing::TestWithParam<const char*> {
 protected:
  EveryState() {
    options_.links = parse_links("up=0.01,lost=0.3,away=0.2,over=1.5,deadline=2.5,fade=0.3,patience=10");
    options_.seed = 11;
    options_.rounds = 8;
    options_.clients_per_round = 5;
    options_.batch = 8;
    options_.stream = std::string(GetParam()).find("ef21") == std::string::npos && std::string(GetParam()).find("diana") == std::string::npos ? 9 : 0;
  }
  SyntheticTask synthetic_;
  Options options_;
};
INSTANTIATE_TEST_SUITE_P(All, EveryState,
                         testing::Values("f32", "mask:keep=0.3+f32 @ feedback=ef14,downlink=topk:keep=0.2+f32",
                                         "mask:keep=0.3+f32 @ feedback=ef21,downlink=bf16",
                                         "mask:keep=0.5,seed=round+f32 @ feedback=diana,feedback-rate=0.5",
                                         "f32 @ feedback=reference,downlink=trellis:bits=3", "mask:keep=0.5+f32 @ feedback=dgc",
                                         "trellis:scale=profile,bits=2", "trellis:scale=profile,bits=auto @ downlink=natural",
                                         "trellis:bits=auto @ average=0.9,server-momentum=0.5"));

TEST_P(EveryState, ARestoredTrainerGoesOnAsTheUnbrokenOne) {
  const Result unbroken = trained(synthetic_.task, options_, GetParam());
  Result broken;
  broken.state = Trainer(synthetic_.task, options_, plan_of(GetParam())).save();
  for (std::uint32_t round = 1; round <= options_.rounds; ++round) {
    Trainer next(synthetic_.task, options_, plan_of(GetParam()));
    next.restore(broken.state);
    EXPECT_EQ(next.save(), broken.state);
    broken.rounds.push_back(next.step().value());
    broken.state = next.save();
  }
  expect_same(broken, unbroken);
}

TEST_P(EveryState, ResultsDoNotDependOnTheNumberOfThreads) {
  options_.threads = 1;
  const Result one = trained(synthetic_.task, options_, GetParam());
  options_.threads = 3;
  expect_same(one, trained(synthetic_.task, options_, GetParam()));
}

// Each round is begun, broken off by what its observer throws, and done again.
TEST_P(EveryState, ARoundThatWasBrokenOffIsDoneAgain) {
  const Result unbroken = trained(synthetic_.task, options_, GetParam());
  Trainer trainer(synthetic_.task, options_, plan_of(GetParam()));
  Result broken;
  while (!trainer.done()) {
    trainer.observe(1, [](const ClientUpdate&) { throw std::runtime_error("no space left"); });
    EXPECT_THROW(trainer.step(), std::runtime_error);
    trainer.observe(0, nullptr);
    broken.rounds.push_back(trainer.step().value());
  }
  broken.state = trainer.save();
  expect_same(broken, unbroken);
}

TEST_P(EveryState, WhenNobodyArrivesTheModelStays) {
  for (const char* network : {"lost=1", "lost=1,deadline=3", "away=1,deadline=3", "up=0.00001,deadline=3"}) {
    options_.links = parse_links(network);
    if (!options_.links->deadline && std::string(GetParam()).find("auto") != std::string::npos) continue;   // it needs one
    Trainer trainer(synthetic_.task, options_, plan_of(GetParam()));
    const std::vector<float> start = copy(trainer.parameters());
    const bool reached = std::string(network).starts_with("lost") || std::string(network).starts_with("up");
    for (std::uint32_t round = 1; round <= 2; ++round) {
      const RoundResult result = trainer.step().value();
      EXPECT_EQ(result.round, round);
      EXPECT_EQ(result.clients, 0u);
      EXPECT_EQ(result.frames, 0u);
      EXPECT_EQ(result.asked > 0, reached);
      EXPECT_EQ(result.upload_bytes > 0, reached);
      EXPECT_EQ(result.upload_bytes, result.wasted_bytes);
      EXPECT_EQ(result.download_bytes > 0, reached);
      if (options_.links->deadline) {
        EXPECT_EQ(result.simulated_seconds, 3.0 * round);
      }
      EXPECT_TRUE(result.score.has_value());
      EXPECT_TRUE(same_bits(trainer.parameters(), start));
    }
    EXPECT_FALSE(trainer.done());
  }
}

// 1e6 bytes a second up, 1e7 down, half a second a transfer, 10 ms an example, all clients alike: a client's time is
// 1 s + 10 ms an example, but for the microseconds of its 1548 bytes down and its frame up.
class Alike : public testing::Test {
 protected:
  Alike() {
    options_.seed = 11;
    options_.rounds = 1;
    options_.clients_per_round = 12;
    options_.batch = 8;
  }
  RoundResult round(const std::string& more) {
    options_.links = parse_links("up=8,down=80,latency=0.5,example-ms=10,spread=0" + more);
    Trainer trainer(synthetic_.task, options_, {});
    arrived_ = 0;
    return trainer.step().value();
  }
  std::vector<std::size_t> sizes() const {   // of the clients that have examples, the first to answer first
    std::vector<std::size_t> sizes;
    for (const auto& rows : synthetic_.rows_of_each)
      if (!rows.empty()) sizes.push_back(rows.size());
    std::ranges::sort(sizes);
    return sizes;
  }
  // Of f32: the values and a header of one byte each for round and client.
  static constexpr std::size_t kFrame = 4 * 387 + 18;

  SyntheticTask synthetic_;
  Options options_;
  std::size_t arrived_ = 0;
};

TEST_F(Alike, AllArriveAndTheRoundLastsAsLongAsTheSlowest) {
  options_.clients_per_round = 11;
  while (true) {   // of twelve one has no examples; a seed with which it is not drawn
    const RoundResult result = round("");
    if (result.asked < 11) {
      ++options_.seed;
      continue;
    }
    EXPECT_EQ(result.clients, 11u);
    EXPECT_EQ(result.upload_bytes, 11 * kFrame);
    EXPECT_EQ(result.wasted_bytes, 0u);
    EXPECT_EQ(result.download_bytes, 11u * 4 * 387);
    EXPECT_NEAR(result.simulated_seconds, 1 + 0.01 * static_cast<double>(sizes().back()) + 1548e-7 + kFrame * 1e-6, 1e-9);
    return;
  }
}

// Epochs are computing.
TEST_F(Alike, TheDeadlineDropsStragglers) {
  options_.epochs = 3;
  const double deadline = 1 + 0.03 * static_cast<double>(sizes()[6]) + 0.01;
  const RoundResult result = round(",deadline=" + std::to_string(deadline));
  const auto in_time = static_cast<std::size_t>(std::ranges::count_if(sizes(), [&](std::size_t size) { return size <= sizes()[6]; }));
  ASSERT_LT(in_time, 11u);
  EXPECT_EQ(result.asked, 11u);
  EXPECT_EQ(result.clients, in_time);
  EXPECT_EQ(result.upload_bytes, 11 * kFrame);   // stragglers do not know
  EXPECT_EQ(result.wasted_bytes, (11 - in_time) * kFrame);
  EXPECT_NEAR(result.simulated_seconds, deadline, 1e-6);
}

TEST_F(Alike, OverSelectionTakesTheFirst) {
  options_.clients_per_round = 4;
  const RoundResult result = round(",over=3");
  EXPECT_EQ(result.asked, 11u);
  EXPECT_EQ(result.clients, 4u);
  EXPECT_EQ(result.examples, sizes()[0] + sizes()[1] + sizes()[2] + sizes()[3]);
  EXPECT_EQ(result.upload_bytes, 11 * kFrame);
  EXPECT_EQ(result.wasted_bytes, 7 * kFrame);
  EXPECT_NEAR(result.simulated_seconds, 1 + 0.01 * static_cast<double>(sizes()[3]) + 1548e-7 + kFrame * 1e-6, 1e-9);
}

TEST_F(Alike, SecondsAndBytesAddUpOverRounds) {
  options_.rounds = 3;
  options_.links = parse_links("up=8,down=80,latency=0.5,example-ms=0,spread=0");
  Trainer trainer(synthetic_.task, options_, {});
  for (std::uint32_t r = 1; r <= 3; ++r) {
    const RoundResult result = trainer.step().value();
    // Twelve are wanted, and eleven have something to send: without a deadline the server waits for the last that sends.
    EXPECT_NEAR(result.simulated_seconds, r * (1 + 1548e-7 + kFrame * 1e-6), 1e-9);
    EXPECT_EQ(result.upload_bytes, r * 11 * kFrame);
    EXPECT_EQ(result.frames, r * 11);
  }
}

TEST_F(Alike, WithoutLinksNothingIsLostAndNoTimePasses) {
  Trainer trainer(synthetic_.task, options_, {});
  const RoundResult result = trainer.step().value();
  EXPECT_EQ(result.simulated_seconds, 0.0);
  EXPECT_EQ(result.wasted_bytes, 0u);
  EXPECT_EQ(result.upload_bytes, 11 * kFrame);
}

// A client has the whole model at first, later the frames of all rounds since it was there, unless that is more.
TEST(Downlinks, AClientsDownloadIsWhatItLacks) {
  const SyntheticTask synthetic;
  for (const char* plan : {"bf16", "mask:keep=0.2+f32", "f32"}) {   // two rounds of bf16 are as much as the model, one of f32 is
    Options of = options("lost=0.3,away=0.2");
    of.rounds = 12;
    const Links links(*of.links, of.seed);
    Trainer trainer(synthetic.task, of, {.downlink = plan});
    const std::vector<float> start = copy(trainer.parameters());
    Downlink downlink(Codec::compile(plan, trainer.layout()), start);
    std::map<std::uint32_t, std::uint32_t> last;
    std::vector<std::uint64_t> frames{0};
    std::uint64_t expected = 0, whole = 0, all = 0;
    for (std::uint32_t round = 1; round <= of.rounds; ++round) {
      frames.push_back(downlink.encode(trainer.parameters(), of.seed, round).size());
      for (const std::uint32_t client : sample_clients(of, 5, synthetic.rows_of_each.size(), round)) {
        if (links.away(round, client) || synthetic.rows_of_each[client].empty()) continue;
        std::uint64_t bytes = 4 * start.size();
        if (last.contains(client)) {
          std::uint64_t since = 0;
          for (std::uint32_t r = last[client] + 1; r <= round; ++r) since += frames[r];
          bytes = std::min(bytes, since);
        }
        whole += bytes == 4 * start.size();
        ++all;
        expected += bytes;
        last[client] = round;   // even where its own frame was lost
      }
      EXPECT_EQ(trainer.step().value().download_bytes, expected) << plan << round;
    }
    EXPECT_GT(whole, 0u);
    EXPECT_EQ(whole == all, std::string(plan) == "f32");
  }
}

// With an exact downlink, and values that it carries exactly, clients train from the server's model; with a coarse one not.
TEST(Downlinks, ClientsTrainFromWhatTheyWereSent) {
  const SyntheticTask synthetic;
  Options of = options("");
  of.links.reset();
  const auto loss = [&](const char* downlink) {
    Trainer trainer(synthetic.task, of, {.downlink = downlink});
    std::vector<double> losses;
    while (!trainer.done()) losses.push_back(trainer.step().value().loss);
    return losses;
  };
  const auto whole = loss(""), exact = loss("f32"), coarse = loss("mask:keep=0.05+f32");
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(exact[i], whole[i], 1e-5);
  EXPECT_EQ(coarse[0], whole[0]);   // all begin with the same model
  EXPECT_GT(coarse.back(), whole.back() + 0.01);   // which hardly moves
}

}  // namespace
}  // namespace fewbits::federated
