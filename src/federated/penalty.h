#pragma once

#include <cstddef>
#include <span>

namespace fewbits::federated {

// l2 / 2 |weight|^2, whose derivative is added to `gradient`.
inline double penalize(double l2, std::span<const float> weight, std::span<float> gradient) {
  if (l2 == 0) return 0;
  const auto factor = static_cast<float>(l2);
  double squares = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    squares += static_cast<double>(weight[i]) * static_cast<double>(weight[i]);
    gradient[i] += factor * weight[i];
  }
  return l2 / 2 * squares;
}

}  // namespace fewbits::federated
