#include <algorithm>

#include "fewbits/federated/federated.h"

namespace fewbits::federated {

std::vector<std::optional<double>> smoothed_accuracy(std::span<const RoundResult> rounds) {
  std::vector<std::optional<double>> smoothed;
  std::vector<double> seen;
  for (const RoundResult& round : rounds) {
    if (round.accuracy) seen.push_back(*round.accuracy);
    const std::size_t window = std::min(seen.size(), kSmoothedRounds);
    double sum = 0;
    for (std::size_t i = seen.size() - window; i < seen.size(); ++i) sum += seen[i];
    smoothed.push_back(window == 0 ? std::nullopt : std::optional(sum / static_cast<double>(window)));
  }
  return smoothed;
}

Summary summarize(std::span<const RoundResult> rounds, std::size_t coordinates, std::optional<double> target) {
  Summary summary;
  const std::vector<std::optional<double>> accuracy = smoothed_accuracy(rounds);
  for (std::size_t i = 0; i < rounds.size(); ++i) {
    summary.train_seconds += rounds[i].train_seconds;
    summary.encode_seconds += rounds[i].encode_seconds;
    summary.decode_seconds += rounds[i].decode_seconds;
    if (!accuracy[i]) continue;
    summary.final_accuracy = accuracy[i];
    if (!summary.best_accuracy || *accuracy[i] > *summary.best_accuracy) summary.best_accuracy = accuracy[i];
    if (target && !summary.rounds_to_target && *accuracy[i] >= *target) {
      summary.rounds_to_target = rounds[i].round;
      summary.upload_bytes_to_target = rounds[i].upload_bytes;
    }
  }
  if (!rounds.empty()) {
    const RoundResult& last = rounds.back();
    summary.upload_bytes = last.upload_bytes;
    summary.download_bytes = last.download_bytes;
    if (last.frames > 0) {
      summary.bits_per_coordinate = 8 * static_cast<double>(last.upload_bytes) /
                                    (static_cast<double>(last.frames) * static_cast<double>(coordinates));
    }
  }
  const double codec = summary.encode_seconds + summary.decode_seconds;
  if (codec > 0) summary.codec_time_share = codec / (codec + summary.train_seconds);
  return summary;
}

}  // namespace fewbits::federated
