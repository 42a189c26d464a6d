#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fewbits/export.h"
#include "fewbits/federated/federated.h"

namespace fewbits::federated {

inline constexpr std::size_t kSmoothedRounds = 5;

// A plan's score at each round: the mean of its last five evaluations (of all, where there are fewer).
// None before the first evaluation.
FEWBITS_API std::vector<std::optional<double>> smoothed_scores(std::span<const RoundResult> rounds);

// What a run comes to; scores are smoothed ones.
struct Summary {
  std::optional<double> best_score;
  std::optional<double> final_score;
  std::optional<std::uint32_t> rounds_to_target;        // first round that is as good as the target
  std::optional<std::uint64_t> upload_bytes_to_target;  // up to it and with it
  std::optional<std::uint64_t> download_bytes_to_target;
  std::optional<double> simulated_seconds_to_target;    // none without links
  std::uint64_t upload_bytes = 0;
  std::uint64_t wasted_bytes = 0;
  std::uint64_t download_bytes = 0;
  double simulated_seconds = 0;
  double bits_per_coordinate = 0;                       // of a frame in a mean, on average
  double train_seconds = 0;
  double encode_seconds = 0;
  double decode_seconds = 0;
  double codec_time_share = 0;                          // (encode + decode) / (train + encode + decode)
};
FEWBITS_API Summary summarize(std::span<const RoundResult> rounds, std::size_t coordinates, const Metric& metric,
                              std::optional<double> target);

}  // namespace fewbits::federated
