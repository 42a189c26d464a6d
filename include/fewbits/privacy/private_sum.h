#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fewbits/export.h"
#include "fewbits/privacy/clipping.h"
#include "fewbits/privacy/random_source.h"

namespace fewbits::privacy {

// The sum of one round of DP-FedAvg at a server that sees each update (McMahan et al. 2018, arXiv 1710.06963, algorithm 1, with
// the fixed denominator): it trusts nobody's clipping, adds in integers, and its noise is discrete and exact.
//
// Sums are multiples of S·2^−24 (of a coarser step for multipliers over 16), a grid that is common to all cohorts: where a sum lies
// between the steps of a codec says nothing of who took part.
class FEWBITS_API PrivateSum {
 public:
  static constexpr double kMaxNoiseMultiplier = 256;

  // Noise of standard deviation noise_multiplier · S in each coordinate of the sum; 0 promises nothing, and is for tests and for
  // clipping alone. Throws kBadArgument for a negative multiplier, and one over kMaxNoiseMultiplier.
  PrivateSum(Clipping clipping, double noise_multiplier);

  // Adds weight · update, shape [clipping().elements()], clipped again to what its client was to clip it to, and by a trifle more
  // (√elements · 2^−25), so that rounding to the grid makes it no longer than S. Weights are over 0 and at most 1: the sum's
  // sensitivity is S. All or nothing: throws kBadArgument for a wrong length or weight, kNotFinite.
  void add(std::span<const float> update, double weight = 1);

  const Clipping& clipping() const noexcept { return clipping_; }

  // (sum + noise)/denominator, shape [clipping().elements()]; also where nobody has been added. Once a sum: two noises of one sum
  // say more than what is accounted. Throws kBadArgument for a denominator that is not positive, and the second time.
  std::vector<float> release(double denominator, RandomSource& source);

 private:
  Clipping clipping_;
  Clipping shorter_;
  double noise_multiplier_;
  double step_;
  std::vector<std::int64_t> sum_;
  std::vector<float> scratch_;
  bool released_ = false;
};

// The same noise for a sum that comes already summed, as from secure aggregation: on a grid of sensitivity · noise_multiplier · 2^−26,
// to which the sum is rounded; what that adds to the sensitivity is in the noise. `sensitivity`: the most that one client moves the
// sum by, in the Euclidean norm. Throws kBadArgument for one that is not positive, or a multiplier that is not in (0, kMaxNoiseMultiplier].
FEWBITS_API void add_noise(std::span<double> sum, double sensitivity, double noise_multiplier, RandomSource& source);

}  // namespace fewbits::privacy
