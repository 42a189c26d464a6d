#pragma once

#include <cmath>
#include <span>

#include "fewbits/federated/model.h"

namespace fewbits::federated {

// The metric over all parts together, which are summed in their order; 0 of no target.
inline double value_of(std::span<const Score> parts, const Metric& metric) {
  Score all;
  for (const Score& part : parts) {
    all.sum += part.sum;
    all.count += part.count;
  }
  const double mean = all.count == 0 ? 0 : all.sum / static_cast<double>(all.count);
  return metric.root ? std::sqrt(mean) : mean;
}

}  // namespace fewbits::federated
