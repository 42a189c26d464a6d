#pragma once

#include <cmath>
#include <span>

#include "fewbits/federated/model.h"

namespace fewbits::federated {

// The metric over all parts together, which are summed in their order; 0 where they weigh nothing.
inline double value_of(std::span<const Score> parts, const Metric& metric) {
  Score all;
  for (const Score& part : parts) {
    all.sum += part.sum;
    all.weight += part.weight;
  }
  const double mean = all.weight == 0 ? 0 : all.sum / all.weight;
  return metric.root ? std::sqrt(mean) : mean;
}

}  // namespace fewbits::federated
