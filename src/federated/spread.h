#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

// What repeated runs come to.
namespace fewbits::federated {

struct Spread {
  std::size_t count = 0;
  double mean = 0;
  std::optional<double> deviation;  // standard deviation, estimated with count - 1; none of a single value
  double least = 0;
  double most = 0;
};

// Of the values that are there; none where no value is.
std::optional<Spread> spread_of(std::span<const std::optional<double>> values);

// What something needs to come to a target (rounds, bytes), against what another needs, in pairs of runs with the same
// seed. Pairs whose other does not come there are left out.
struct PairedNeed {
  std::vector<std::optional<double>> ratios;   // needed / needed by the other, a pair; none where either is missing
  std::optional<double> median_ratio;          // a run that does not come to the target counts as the worst; none
                                               // where the median is such a run
  std::vector<std::optional<double>> factors;  // the inverses: so many times less
  std::optional<double> median_factor;
};
PairedNeed paired_need(std::span<const std::optional<double>> needed, std::span<const std::optional<double>> other);

}  // namespace fewbits::federated
