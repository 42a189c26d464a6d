#pragma once

#include <cmath>

namespace fewbits::test {

// How far a sum of independent errors may lie from zero: 6 standard errors. That is a bound for normal sums; where the
// largest single term is over a tenth of the standard error, it is Bernstein's instead: P(|S| ≥ t) ≤
// 2·exp(−t²/(2(V + Mt/3))), which is 1e-9 at the t returned.
inline double allowed(double variance, double largest) {
  if (variance >= 100 * largest * largest) return 6 * std::sqrt(variance);
  const double log_term = std::log(2e9);
  const double linear = largest * log_term / 3;
  return linear + std::sqrt(linear * linear + 2 * variance * log_term);
}

}  // namespace fewbits::test
