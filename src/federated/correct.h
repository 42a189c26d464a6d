#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

namespace fewbits::federated {

// Of how many rows of scores (shape [labels.size(), classes]) the largest is the label's. A score that is NaN, as after
// training has diverged, is never right.
inline std::size_t count_correct(std::span<const float> labels, std::size_t classes, const float* scores) {
  std::size_t count = 0;
  for (const float label : labels) {
    const float* best = std::max_element(scores, scores + classes);
    count += best - scores == static_cast<std::ptrdiff_t>(label) && !std::isnan(*best);
    scores += classes;
  }
  return count;
}

}  // namespace fewbits::federated
