#include "cli/measurement.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <numbers>
#include <system_error>

#include "cli/frames.h"
#include "fewbits/aggregator.h"
#include "fewbits/error.h"
#include "io/arrays.h"
#include "kernels/random.h"

namespace fewbits::cli {
namespace {

namespace fs = std::filesystem;

double parse_sigma(const std::string& text) {
  double sigma = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), sigma);
  if (error != std::errc() || end != text.data() + text.size() || !(sigma > 0 && sigma <= 20))
    throw Error(Errc::kBadArgument, "'" + text + "' is no sigma of a lognormal; it is over 0 and at most 20");
  return sigma;
}

// normal:N and lognormal:N[,sigma]: exp(sigma · normal), with random signs so that it looks like an update.
std::optional<Updates> draw(const std::string& text, std::uint64_t seed) {
  const bool lognormal = text.starts_with("lognormal:");
  if (!lognormal && !text.starts_with("normal:")) return std::nullopt;
  std::string count = text.substr(text.find(':') + 1);
  double sigma = 1;
  if (const std::size_t comma = count.find(','); lognormal && comma != std::string::npos) {
    sigma = parse_sigma(count.substr(comma + 1));
    count.resize(comma);
  }
  const std::size_t n = parse_count(count);
  Updates updates{text, Layout(n), {std::vector<float>(n)}, true};
  RandomReader random(stream_key({seed, static_cast<std::uint64_t>(Purpose::kSynthetic)}));
  for (float& value : updates.values.front()) {
    // Box and Muller 1958; 1 − u is never 0.
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    const double normal = radius * std::cos(2 * std::numbers::pi * random.uniform());
    const bool negative = (random.next() >> 31) != 0;
    value = static_cast<float>(lognormal ? (negative ? -1 : 1) * std::exp(sigma * normal) : normal);
  }
  return updates;
}

std::vector<std::string> files_of(const std::string& input) {
  std::error_code error;
  if (!fs::is_directory(input, error)) return {input};
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(input, error)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".npz" || extension == ".npy") files.push_back(entry.path().string());
  }
  if (error) throw Error(Errc::kBadArgument, input + ": cannot be read: " + error.message());
  if (files.empty()) throw Error(Errc::kBadArgument, input + ": no .npy or .npz in this folder");
  std::ranges::sort(files);
  return files;
}

}  // namespace

Updates read_updates(const std::vector<std::string>& inputs, std::uint64_t seed) {
  Updates updates;
  std::string first;
  for (const std::string& input : inputs) {
    if (std::optional<Updates> drawn = draw(input, seed)) {
      if (inputs.size() > 1)
        throw Error(Errc::kBadArgument,
                    "'" + input + "' stands alone: several inputs are files of one model's updates");
      return std::move(*drawn);
    }
    for (const std::string& file : files_of(input)) {
      io::Arrays arrays = io::read_arrays(file);
      if (first.empty()) {
        first = file;
        updates.layout = std::move(arrays.layout);
      } else if (arrays.layout.text() != updates.layout.text()) {
        throw Error(Errc::kBadArgument, file + ": its names and shapes are not those of " + first +
                                            "; several inputs are updates of one model");
      }
      updates.values.push_back(std::move(arrays.values));
    }
  }
  updates.source = inputs.front();
  if (inputs.size() > 1) updates.source += " and others";
  if (updates.values.size() > 1) updates.source += ", " + std::to_string(updates.values.size()) + " updates";
  return updates;
}

double squared_norm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

MeasureProgress::MeasureProgress() : terminal_(::isatty(STDERR_FILENO) != 0) {}

void MeasureProgress::update(const std::string& what, std::size_t done, std::size_t all) {
  if (!terminal_ || watch_.nanoseconds() < 1e9) return;
  const std::scoped_lock lock(mutex_);
  const std::size_t percent = 100 * done / all;
  if (percent == last_) return;
  last_ = percent;
  std::fprintf(stderr, "\r\033[K%.60s: %zu %%", what.c_str(), percent);  // in one line of a terminal
  std::fflush(stderr);
  shown_ = true;
}

MeasureProgress::~MeasureProgress() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

// Each frame is that of another client in another round, so that no two share a draw.
Measurement measure(const std::string& plan, const Codec& codec, const Updates& updates, std::size_t repeats,
                    std::uint64_t seed, MeasureProgress* progress) {
  Measurement result;
  result.plan = plan;
  result.coordinates = updates.layout.elements();
  result.structured = codec.structured();
  const Description promise = codec.describe();
  result.unbiased = promise.unbiased;
  const std::size_t clients = std::max<std::size_t>(promise.cohort, 1);
  const auto coordinates = static_cast<double>(std::max<std::size_t>(result.coordinates, 1));
  const std::size_t frames = repeats * updates.values.size();

  std::vector<double> sum_of_errors(result.coordinates);
  std::size_t total_bytes = 0;
  std::size_t frame_number = 0;
  double nmse = 0;
  double bias_ratios = 0;
  std::size_t with_error = 0;
  result.encode_ns = result.decode_ns = std::numeric_limits<double>::infinity();
  for (const std::vector<float>& values : updates.values) {
    // What is encoded and the update that it stands for: the same but in a structured family, where a synthetic vector
    // is taken for free parameters, and another update is replaced by the nearest member of the round's family.
    std::vector<float> sent = values;
    if (updates.synthetic) sent.resize(codec.elements());
    std::vector<float> update = sent;
    Encoder encoder(codec);
    std::ranges::fill(sum_of_errors, 0.0);
    double total_error = 0;
    for (std::size_t repeat = 0; repeat < repeats; ++repeat, ++frame_number) {
      const Cohort cohort{static_cast<std::uint32_t>(frame_number % clients), static_cast<std::uint32_t>(clients)};
      const Context context{seed, static_cast<std::uint32_t>(frame_number), frame_number, cohort};
      const RoundContext round{context.seed, context.round};
      if (result.structured) {
        if (!updates.synthetic) sent = to_encodable(codec, values, round).values;
        update = to_update(codec, sent, round);
      }
      const Stopwatch encode_watch;
      const std::span<const std::byte> frame = encoder.encode(sent, context);
      result.encode_ns = std::min(result.encode_ns, encode_watch.nanoseconds() / coordinates);
      total_bytes += frame.size();
      const Stopwatch decode_watch;
      std::vector<float> decoded = codec.decode(frame, {seed, cohort});
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
      if (progress != nullptr) progress->update(plan, frame_number + 1, frames);
    }
    if (total_error > 0) {
      // repeats · ‖Σ error / repeats‖² ÷ (Σ ‖error‖² / repeats), in which the update's norm and the repeats cancel.
      double squared_sum = 0;
      for (const double difference : sum_of_errors) squared_sum += difference * difference;
      bias_ratios += squared_sum / total_error;
      ++with_error;
    }
  }
  result.bytes = static_cast<double>(total_bytes) / static_cast<double>(frames);
  result.nmse = nmse / static_cast<double>(frames);
  result.rate = bits_per_coordinate(result.bytes, result.coordinates);
  if (with_error != 0) result.bias_ratio = bias_ratios / static_cast<double>(with_error);
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
          {"unbiased", m.unbiased == Unbiased::kAlways},
          {"encode_ns_per_coordinate", m.encode_ns},
          {"decode_ns_per_coordinate", m.decode_ns}};
}

std::vector<std::string> measurement_columns() {
  return {"plan", "bytes", "bits/coord", "NMSE", "x limit", "bias ratio", "unbiased", "enc ns/coord", "dec ns/coord"};
}

std::vector<std::string> measurement_cells(const Measurement& m) {
  const auto or_dash = [](const std::optional<double>& value) { return value ? number(*value) : std::string("-"); };
  char bytes[32];
  std::snprintf(bytes, sizeof bytes, "%.0f", m.bytes);
  const std::string unbiased = m.unbiased == Unbiased::kAlways ? "yes" : to_string(m.unbiased);
  return {m.plan,   bytes,    number(m.rate),       number(m.nmse),     or_dash(m.limit_ratio), or_dash(m.bias_ratio),
          unbiased, number(m.encode_ns), number(m.decode_ns)};
}

std::string measurement_notes(const Updates& updates, std::size_t repeats, std::uint64_t seed) {
  return updates.source + (updates.values.size() > 1 ? " of " : ", ") + std::to_string(updates.layout.elements()) +
         " coordinates, " + std::to_string(repeats) + " repeats, seed " + std::to_string(seed) +
         ".\nNMSE: mean of |decoded - update|^2 / |update|^2. x limit: NMSE x (4^rate - 1), 1 being the least of an "
         "unbiased code on a\n"
         "Gaussian. bias ratio: repeats x NMSE of the mean of the repeats / NMSE, 1 when unbiased.\n";
}

}  // namespace fewbits::cli
