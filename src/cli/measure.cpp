#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <numbers>

#include "cli/common.h"
#include "cli/frames.h"
#include "fewbits/aggregator.h"
#include "fewbits/error.h"
#include "io/arrays.h"
#include "kernels/random.h"

namespace fewbits::cli {
namespace {

struct MeasureOptions {
  std::vector<std::string> plans;
  std::size_t repeats = 10;
  std::uint64_t seed = 1;
  bool json = false;
  std::string input;
};

// An update to measure on: from a file, or drawn from a distribution.
struct Input {
  Layout layout;
  std::vector<float> values;
  bool synthetic = false;
};

double parse_sigma(const std::string& text) {
  double sigma = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), sigma);
  if (error != std::errc() || end != text.data() + text.size() || !(sigma > 0 && sigma <= 20))
    throw Error(Errc::kBadArgument, "'" + text + "' is no sigma of a lognormal; it is over 0 and at most 20");
  return sigma;
}

// normal:N and lognormal:N[,sigma]: exp(sigma · normal), with random signs so that it looks like an update.
std::optional<Input> draw(const std::string& text, std::uint64_t seed) {
  const bool lognormal = text.starts_with("lognormal:");
  if (!lognormal && !text.starts_with("normal:")) return std::nullopt;
  std::string count = text.substr(text.find(':') + 1);
  double sigma = 1;
  if (const std::size_t comma = count.find(','); lognormal && comma != std::string::npos) {
    sigma = parse_sigma(count.substr(comma + 1));
    count.resize(comma);
  }
  const std::size_t n = parse_count(count);
  Input input{Layout(n), std::vector<float>(n), true};
  RandomReader random(stream_key({seed, static_cast<std::uint64_t>(Purpose::kSynthetic)}));
  for (float& value : input.values) {
    // Box and Muller 1958; 1 − u is never 0.
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    const double normal = radius * std::cos(2 * std::numbers::pi * random.uniform());
    const bool negative = (random.next() >> 31) != 0;
    value = static_cast<float>(lognormal ? (negative ? -1 : 1) * std::exp(sigma * normal) : normal);
  }
  return input;
}

Input read_input(const MeasureOptions& options) {
  if (auto drawn = draw(options.input, options.seed)) return std::move(*drawn);
  io::Arrays arrays = io::read_arrays(options.input);
  return {std::move(arrays.layout), std::move(arrays.values), false};
}

// Rates, errors and times of one plan. Errors are those of updates: in a structured family, of its members.
struct Measurement {
  std::string plan;
  std::size_t coordinates = 0;
  double bytes = 0;
  double rate = 0;
  double nmse = 0;
  std::optional<double> bias_ratio;  // none where there is no error
  std::optional<double> limit_ratio;
  bool unbiased = false;
  double encode_ns = 0;  // the fastest repeat, a coordinate
  double decode_ns = 0;
  bool structured = false;
};

double squared_norm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

class Stopwatch {
 public:
  double nanoseconds() const {
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// A line on a terminal's stderr, when the work takes longer than a moment.
class Progress {
 public:
  void update(const std::string& plan, std::size_t done, std::size_t all) {
    if (!terminal_ || watch_.nanoseconds() < 1e9) return;
    const std::size_t percent = 100 * done / all;
    if (percent == last_) return;
    last_ = percent;
    std::fprintf(stderr, "\r\033[K%.60s: %zu %%", plan.c_str(), percent);  // in one line of a terminal
    std::fflush(stderr);
    shown_ = true;
  }
  ~Progress() {
    if (shown_) std::fputs("\r\033[K", stderr);
  }

 private:
  bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  bool shown_ = false;
  std::size_t last_ = 101;
  Stopwatch watch_;
};

// Each repeat is another client in another round, so that no two share a draw.
Measurement measure(const std::string& plan, const Input& input, const MeasureOptions& options, Progress& progress) {
  const Codec codec = Codec::compile(plan, input.layout);
  Encoder encoder(codec);
  Measurement result;
  result.plan = plan;
  result.coordinates = input.layout.elements();
  result.structured = codec.structured();
  result.unbiased = codec.describe().unbiased == Unbiased::kAlways;
  const auto coordinates = static_cast<double>(std::max<std::size_t>(result.coordinates, 1));

  // What is encoded and the update that it stands for: the same but in a structured family, where a synthetic vector is
  // taken for free parameters, and another update is replaced by the nearest member of the round's family.
  std::vector<float> sent = input.values;
  if (input.synthetic) sent.resize(codec.elements());
  std::vector<float> update = sent;
  std::vector<double> sum_of_errors(result.coordinates, 0.0);
  std::size_t total_bytes = 0;
  double total_error = 0;
  double nmse = 0;
  result.encode_ns = result.decode_ns = std::numeric_limits<double>::infinity();
  for (std::size_t repeat = 0; repeat < options.repeats; ++repeat) {
    const Context context{options.seed, static_cast<std::uint32_t>(repeat), repeat};
    const RoundContext round{context.seed, context.round};
    if (result.structured) {
      if (!input.synthetic) sent = to_encodable(codec, input.values, round).values;
      update = to_update(codec, sent, round);
    }
    const Stopwatch encode_watch;
    const std::span<const std::byte> frame = encoder.encode(sent, context);
    result.encode_ns = std::min(result.encode_ns, encode_watch.nanoseconds() / coordinates);
    total_bytes += frame.size();
    const Stopwatch decode_watch;
    std::vector<float> decoded = codec.decode(frame, {options.seed});
    result.decode_ns = std::min(result.decode_ns, decode_watch.nanoseconds() / coordinates);
    decoded = to_update(codec, std::move(decoded), round);
    double error = 0;
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      const double difference = static_cast<double>(decoded[i]) - static_cast<double>(update[i]);
      error += difference * difference;
      sum_of_errors[i] += difference;
    }
    const double energy = squared_norm(update);
    if (error > 0 && energy == 0) throw Error(Errc::kBadArgument, "the update is zero, so its error has no scale");
    if (error > 0) nmse += error / energy;
    total_error += error;
    progress.update(plan, repeat + 1, options.repeats);
  }
  const auto repeats = static_cast<double>(options.repeats);
  result.bytes = static_cast<double>(total_bytes) / repeats;
  result.nmse = nmse / repeats;
  result.rate = bits_per_coordinate(result.bytes, result.coordinates);
  if (total_error > 0) {
    // repeats · ‖Σ error / repeats‖² ÷ (Σ ‖error‖² / repeats), in which the update's norm and the repeats cancel.
    double squared_sum = 0;
    for (const double difference : sum_of_errors) squared_sum += difference * difference;
    result.bias_ratio = squared_sum / total_error;
  }
  // Beyond some 500 bits the limit is no number any more.
  const double inverse_limit = std::pow(4, result.rate) - 1;
  if (std::isfinite(inverse_limit)) result.limit_ratio = result.nmse * inverse_limit;
  return result;
}

ordered_json to_json(const Measurement& m) {
  const auto or_null = [](const std::optional<double>& value) { return value ? ordered_json(*value) : ordered_json(); };
  return {{"plan", m.plan},
          {"coordinates", m.coordinates},
          {"bytes", m.bytes},
          {"bits_per_coordinate", m.rate},
          {"nmse", m.nmse},
          {"bias_ratio", or_null(m.bias_ratio)},
          {"limit_ratio", or_null(m.limit_ratio)},
          {"unbiased", m.unbiased},
          {"encode_ns_per_coordinate", m.encode_ns},
          {"decode_ns_per_coordinate", m.decode_ns}};
}

std::string to_text(const std::vector<Measurement>& all, const MeasureOptions& options) {
  std::vector<std::vector<std::string>> rows = {
      {"plan", "bytes", "bits/coord", "NMSE", "x limit", "bias ratio", "unbiased", "enc ns/coord", "dec ns/coord"}};
  bool structured = false;
  for (const Measurement& m : all) {
    const auto or_dash = [](const std::optional<double>& value) { return value ? number(*value) : std::string("-"); };
    structured = structured || m.structured;
    char bytes[32];
    std::snprintf(bytes, sizeof bytes, "%.0f", m.bytes);
    rows.push_back({m.plan, bytes, number(m.rate), number(m.nmse), or_dash(m.limit_ratio), or_dash(m.bias_ratio),
                    m.unbiased ? "yes" : "no", number(m.encode_ns), number(m.decode_ns)});
  }
  std::string text = table(rows);
  text += "\n" + options.input + ", " + std::to_string(all.front().coordinates) + " coordinates, " +
          std::to_string(options.repeats) + " repeats, seed " + std::to_string(options.seed) +
          ".\nNMSE: mean of |decoded - update|^2 / |update|^2. x limit: NMSE x (4^rate - 1), 1 being the least of an "
          "unbiased code on a\n"
          "Gaussian. bias ratio: repeats x NMSE of the mean of the repeats / NMSE, 1 when unbiased.\n";
  if (structured)
    text +=
        "Structured plans: errors are against the update's nearest member of the round's family, as if trained in it; "
        "bits and\n"
        "nanoseconds are per coordinate of the whole update.\n";
  return text;
}

}  // namespace

void add_measure_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("measure", "rate, error, bias and speed of plans on a vector, by real frames");
  const auto options = std::make_shared<MeasureOptions>();
  command->add_option("--plan", options->plans, "a plan; may be given several times")
      ->required()
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--repeats", options->repeats, "frames a plan; bias needs many")
      ->capture_default_str()
      ->check(whole_number())
      ->check(CLI::Range(std::size_t{1}, std::size_t{kMaxRound}));
  add_seed(*command, options->seed);
  add_json(*command, options->json);
  command->add_option("INPUT", options->input, "normal:N, lognormal:N[,sigma], update.npy or updates.npz")->required();
  command->footer(R"(N may be written 1048576, 2^20 or 1e6. Times are of the fastest repeat, one thread.

Examples:
  fewbits measure --plan 'hadamard+quantize:bits=2' --plan bf16 normal:2^20
  fewbits measure --plan 'mask:keep=0.1+f32' --repeats 1000 --json lognormal:65536,2
  fewbits measure --plan '<1024=f32; *=hadamard+quantize:bits=1' updates.npz)");
  command->callback([options] {
    const Input input = read_input(*options);
    for (const std::string& plan : options->plans)
      Codec::compile(plan, input.layout);  // all are right before one is run
    std::vector<Measurement> all;
    {
      Progress progress;
      for (const std::string& plan : options->plans) all.push_back(measure(plan, input, *options, progress));
    }
    if (options->json) {
      ordered_json list = ordered_json::array();
      for (const Measurement& m : all) list.push_back(to_json(m));
      print_json(list);
    } else {
      print(to_text(all, *options));
    }
  });
}

}  // namespace fewbits::cli
