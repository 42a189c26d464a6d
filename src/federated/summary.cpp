#include <algorithm>

#include "fewbits/federated/federated.h"
#include "fewbits/federated/summary.h"

namespace fewbits::federated {

std::vector<std::optional<double>> smoothed_scores(std::span<const RoundResult> rounds) {
  std::vector<std::optional<double>> smoothed;
  std::vector<double> seen;
  for (const RoundResult& round : rounds) {
    if (round.score) seen.push_back(*round.score);
    const std::size_t window = std::min(seen.size(), kSmoothedRounds);
    double sum = 0;
    for (std::size_t i = seen.size() - window; i < seen.size(); ++i) sum += seen[i];
    smoothed.push_back(window == 0 ? std::nullopt : std::optional(sum / static_cast<double>(window)));
  }
  return smoothed;
}

Summary summarize(std::span<const RoundResult> rounds, std::size_t coordinates, const Metric& metric,
                  std::optional<double> target) {
  Summary summary;
  const auto better = [&](double a, double b) { return metric.higher_is_better ? a > b : a < b; };
  const std::vector<std::optional<double>> scores = smoothed_scores(rounds);
  for (std::size_t i = 0; i < rounds.size(); ++i) {
    summary.train_seconds += rounds[i].train_seconds;
    summary.encode_seconds += rounds[i].encode_seconds;
    summary.decode_seconds += rounds[i].decode_seconds;
    if (!scores[i]) continue;
    summary.final_score = scores[i];
    if (!summary.best_score || better(*scores[i], *summary.best_score)) summary.best_score = scores[i];
    if (target && !summary.rounds_to_target && !better(*target, *scores[i])) {
      summary.rounds_to_target = rounds[i].round;
      summary.upload_bytes_to_target = rounds[i].upload_bytes;
      summary.download_bytes_to_target = rounds[i].download_bytes;
      if (rounds[i].simulated_seconds > 0) summary.simulated_seconds_to_target = rounds[i].simulated_seconds;
    }
  }
  if (!rounds.empty()) {
    const RoundResult& last = rounds.back();
    summary.upload_bytes = last.upload_bytes;
    summary.wasted_bytes = last.wasted_bytes;
    summary.download_bytes = last.download_bytes;
    summary.simulated_seconds = last.simulated_seconds;
    if (last.frames > 0) {
      summary.bits_per_coordinate = 8 * static_cast<double>(last.upload_bytes - last.wasted_bytes) /
                                    (static_cast<double>(last.frames) * static_cast<double>(coordinates));
    }
  }
  const double codec = summary.encode_seconds + summary.decode_seconds;
  if (codec > 0) summary.codec_time_share = codec / (codec + summary.train_seconds);
  return summary;
}

}  // namespace fewbits::federated
