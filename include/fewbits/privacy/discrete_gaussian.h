#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fewbits/export.h"
#include "fewbits/privacy/random_source.h"

namespace fewbits::privacy {

// Integers k with probability proportional to exp(−k²/(2σ²)), exactly: integers alone, and no low bit that says more than it
// should, as those of floating-point noise do (Mironov 2012). Canonne, Kamath, Steinke 2020, arXiv 2004.00010, algorithms 1
// to 3. Accounted as the Gaussian of the same σ.
//
// Takes time that depends on what is drawn, as rejection does.
class FEWBITS_API DiscreteGaussian {
 public:
  // `sigma` in steps of the integers, from 2^−10 to 2^28; taken as the next larger rational with a numerator of 29 bits, up to
  // 2^−27 of itself more. Throws kBadArgument for others. `source` must outlive it.
  DiscreteGaussian(double sigma, RandomSource& source);

  double sigma() const noexcept;   // what is drawn from
  std::int64_t draw();
  void add_to(std::span<std::int64_t> values);   // a draw to each; sums beyond 64 bits wrap

 private:
  __extension__ typedef unsigned __int128 Wide;

  std::uint64_t bits(unsigned count);
  Wide below(Wide bound);
  bool bernoulli(Wide numerator, Wide denominator);
  bool bernoulli_exp(Wide numerator, Wide denominator);
  bool bernoulli_exp_below_one(Wide numerator, Wide denominator);

  RandomWords words_;
  std::uint64_t numerator_;    // of sigma
  unsigned shift_;             // its denominator is 2^shift_
  std::uint64_t laplace_;      // t, the scale of the discrete Laplace that is drawn from first
  std::uint64_t rest_ = 0;     // bits left of a word
  unsigned rest_bits_ = 0;
};

}  // namespace fewbits::privacy
