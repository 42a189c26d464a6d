#include "fewbits/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "fewbits/structure.h"

namespace fewbits {
namespace {

class Stopwatch {
 public:
  double nanoseconds() const {
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// What is encoded of an update, and the update that decoded values stand for, in one round.
class Member {
 public:
  Member(const Codec& codec, const RoundContext& round) {
    if (codec.structured()) family_.emplace(codec, round);
  }

  std::vector<float> sent(std::span<const float> update) const {
    if (!family_ || update.size() != family_->coordinates()) return {update.begin(), update.end()};
    std::vector<float> free(family_->free_parameters());
    family_->project(update, free);
    return free;
  }

  std::vector<float> update(std::vector<float> decoded) const {
    if (!family_) return decoded;
    std::vector<float> expanded(family_->coordinates());
    family_->expand(decoded, expanded);
    return expanded;
  }

 private:
  std::optional<Structure> family_;
};

double squared_norm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

void check(const Codec& codec, std::span<const std::span<const float>> updates, const MeasureOptions& options) {
  if (updates.empty() || options.repeats == 0)
    throw Error(Errc::kBadArgument, "there is nothing to measure: give an update and at least one repeat");
  if (options.repeats > kMaxRound / updates.size())
    throw Error(Errc::kBadArgument, "more frames than there are rounds, " + std::to_string(kMaxRound));
  for (const auto& update : updates)
    if (update.size() != codec.layout().elements() && update.size() != codec.elements())
      throw Error(Errc::kBadArgument, "an update has " + std::to_string(update.size()) + " values, the layout " +
                                          std::to_string(codec.layout().elements()));
}

}  // namespace

Measurement measure(const Codec& codec, std::span<const std::span<const float>> updates, const MeasureOptions& options) {
  check(codec, updates, options);
  Measurement result;
  result.plan = codec.plan();
  result.coordinates = codec.layout().elements();
  result.structured = codec.structured();
  const Description promise = codec.describe();
  result.unbiased = promise.unbiased;
  const std::size_t clients = std::max<std::size_t>(promise.cohort, 1);
  const auto coordinates = static_cast<double>(std::max<std::size_t>(result.coordinates, 1));
  const std::size_t frames = options.repeats * updates.size();

  std::vector<double> sum_of_errors(result.coordinates);
  std::size_t total_bytes = 0;
  std::size_t number = 0;   // of the frame
  double nmse = 0;
  double bias_ratios = 0;
  std::size_t with_error = 0;
  result.encode_ns = result.decode_ns = std::numeric_limits<double>::infinity();
  for (const std::span<const float> values : updates) {
    Encoder encoder(codec);
    std::ranges::fill(sum_of_errors, 0.0);
    double total_error = 0;
    for (std::size_t repeat = 0; repeat < options.repeats; ++repeat, ++number) {
      // Another client in another round, so that no two frames share a draw.
      const Cohort cohort{static_cast<std::uint32_t>(number % clients), static_cast<std::uint32_t>(clients)};
      const Context context{options.seed, static_cast<std::uint32_t>(number), number, cohort};
      const Member member(codec, {context.seed, context.round});
      const std::vector<float> sent = member.sent(values);
      const std::vector<float> update = member.update(sent);
      const Stopwatch encode_watch;
      const std::span<const std::byte> frame = encoder.encode(sent, context);
      result.encode_ns = std::min(result.encode_ns, encode_watch.nanoseconds() / coordinates);
      total_bytes += frame.size();
      const Stopwatch decode_watch;
      std::vector<float> decoded = codec.decode(frame, {options.seed, cohort});
      result.decode_ns = std::min(result.decode_ns, decode_watch.nanoseconds() / coordinates);
      decoded = member.update(std::move(decoded));
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
      if (options.progress) options.progress(number + 1, frames);
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
  if (result.coordinates != 0) result.rate = 8 * result.bytes / coordinates;
  if (with_error != 0) result.bias_ratio = bias_ratios / static_cast<double>(with_error);
  // Beyond some 500 bits the limit is no number any more.
  const double inverse_limit = std::pow(4, result.rate) - 1;
  if (std::isfinite(inverse_limit)) result.limit_ratio = result.nmse * inverse_limit;
  return result;
}

}  // namespace fewbits
