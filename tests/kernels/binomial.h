#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace fewbits::test {

// ln P(X = k) for X ~ Binomial(trials, p), 0 < p < 1.
inline double log_binomial(std::int64_t k, std::int64_t trials, double p) {
  const auto n = static_cast<double>(trials);
  const auto x = static_cast<double>(k);
  return std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) + x * std::log(p) + (n - x) * std::log1p(-p);
}

// The smaller of P(X ≤ k) and P(X ≥ k), exactly: the tail in which k lies. 1 where p leaves no choice and k is it.
inline double binomial_tail(std::int64_t k, std::int64_t trials, double p) {
  if (p <= 0) return k == 0 ? 1 : 0;
  if (p >= 1) return k == trials ? 1 : 0;
  double below = 0;
  double above = 0;
  for (std::int64_t i = 0; i <= trials; ++i) {
    const double mass = std::exp(log_binomial(i, trials, p));
    if (i <= k) below += mass;
    if (i >= k) above += mass;
  }
  return std::min(below, above);
}

}  // namespace fewbits::test
