#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fewbits/export.h"
#include "fewbits/privacy/accountant.h"
#include "fewbits/privacy/random_source.h"

namespace fewbits::privacy {

// A client's part of noise that is spread over the clients of a secure sum, where no server can be trusted with the sum itself:
// the distributed discrete Gaussian (Kairouz, Liu, Steinke 2021, arXiv 2102.06387, algorithm 1, without its rotation and modulus).
// Values are clipped, rounded at random to multiples of a step until they are not much longer than before, and get discrete
// Gaussian noise. No dither of the codecs: the sum's place between its steps would say who took part.
class FEWBITS_API ClientNoise {
 public:
  // `norm`: S, in the units of the values; `step` > 0; `sigma` > 0: standard deviation of this client's noise, from 2^−10 to 2^28
  // steps. Throws kBadArgument for others. Both must be known before the round, from what is public or has been released.
  ClientNoise(std::size_t values, double norm, double step, double sigma);

  // Largest norm of a client's integers before the noise, in steps: of the accountant's DiscreteGaussianRound. Holds for every
  // input: rounding is repeated until it does. Equation 4 there, with beta = e^−1/2; a repetition is taken with probability beta at most.
  double l2() const noexcept { return l2_; }
  // A round of so many clients at least, each there with chance q, for the accountant.
  DiscreteGaussianRound round(double q, std::size_t clients) const {
    return {.q = q, .clients = clients, .sigma = sigma_ / step_, .l2 = l2_, .dimension = values_};
  }

  std::size_t values() const noexcept { return values_; }
  double step() const noexcept { return step_; }
  double sigma() const noexcept { return sigma_; }

  // integers[i]: values[i]/step, rounded, plus noise; shapes [values]. Values that are not finite count as zeros. Throws
  // kBadArgument for wrong lengths.
  void encode(std::span<const float> values, std::span<std::int32_t> integers, RandomSource& source) const;

 private:
  std::size_t values_;
  double norm_;
  double step_;
  double sigma_;
  double l2_;
};

// The step at which words of `bits` bits hold the sum of `clients` updates and their noise: all values of the sum together have norm
// `sum_norm` at most, are spread evenly by a rotation, and have noise of standard deviation `noise` in all, in the same units.
// Six standard deviations fit on either side: of 2^20 values one wraps in one of 500 sums.
FEWBITS_API double step_for(unsigned bits, std::size_t values, double clients, double sum_norm, double noise);

}  // namespace fewbits::privacy
