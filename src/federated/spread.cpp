#include "federated/spread.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fewbits::federated {

std::optional<Spread> spread_of(std::span<const std::optional<double>> values) {
  std::vector<double> present;
  for (const auto& value : values) {
    if (value) present.push_back(*value);
  }
  if (present.empty()) return std::nullopt;
  Spread spread;
  spread.count = present.size();
  const auto count = static_cast<double>(spread.count);
  for (const double value : present) spread.mean += value;
  spread.mean /= count;
  const auto [least, most] = std::minmax_element(present.begin(), present.end());
  spread.least = *least;
  spread.most = *most;
  if (spread.count > 1) {
    double squares = 0;
    for (const double value : present) squares += (value - spread.mean) * (value - spread.mean);
    spread.deviation = std::sqrt(squares / (count - 1));
  }
  return spread;
}

PairedNeed paired_need(std::span<const std::optional<double>> needed, std::span<const std::optional<double>> other) {
  PairedNeed need;
  std::vector<double> sorted;
  for (std::size_t i = 0; i < needed.size(); ++i) {
    need.ratios.emplace_back();
    need.factors.emplace_back();
    if (!other[i]) continue;
    sorted.push_back(needed[i] ? *needed[i] / *other[i] : std::numeric_limits<double>::infinity());
    if (!needed[i]) continue;
    need.ratios.back() = *needed[i] / *other[i];
    need.factors.back() = *other[i] / *needed[i];
  }
  if (sorted.empty()) return need;
  std::sort(sorted.begin(), sorted.end());
  const double low = sorted[(sorted.size() - 1) / 2], high = sorted[sorted.size() / 2];
  if (!std::isfinite(high)) return need;
  need.median_ratio = (low + high) / 2;
  need.median_factor = (1 / low + 1 / high) / 2;
  return need;
}

}  // namespace fewbits::federated
