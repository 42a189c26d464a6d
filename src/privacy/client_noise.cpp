#include "fewbits/privacy/client_noise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "fewbits/error.h"
#include "fewbits/privacy/clipping.h"
#include "fewbits/privacy/discrete_gaussian.h"

namespace fewbits::privacy {
namespace {

// Theorem 1 of Kairouz, Liu, Steinke 2021, in steps, with beta = e^−1/2: 2 ln(1/beta) is 1.
double rounded_norm(double norm, double values) {
  const double root = std::sqrt(values);
  return std::min(norm + root, std::sqrt(norm * norm + values / 4 + norm + root / 2));
}

}  // namespace

ClientNoise::ClientNoise(std::size_t values, double norm, double step, double sigma)
    : values_(values), norm_(norm), step_(step), sigma_(sigma) {
  if (!(norm > 0 && std::isfinite(norm) && step > 0 && std::isfinite(step)))
    throw Error(Errc::kBadArgument, "the norm is " + std::to_string(norm) + " and the step " + std::to_string(step) + ", expected over 0 and finite");
  if (!(sigma / step >= 0x1p-10 && sigma / step <= 0x1p28))
    throw Error(Errc::kBadArgument, "a client's noise is " + std::to_string(sigma / step) + " steps, expected 2^-10 to 2^28: take a " +
                                        (sigma / step < 1 ? "smaller" : "larger") + " step");
  if (norm / step > 0x1p30)
    throw Error(Errc::kBadArgument, "the norm is " + std::to_string(norm / step) + " steps, expected at most 2^30: take a larger step");
  l2_ = rounded_norm(norm / step, static_cast<double>(values));
}

void ClientNoise::encode(std::span<const float> values, std::span<std::int32_t> integers, RandomSource& source) const {
  if (values.size() != values_ || integers.size() != values_)
    throw Error(Errc::kBadArgument, "there are " + std::to_string(values.size()) + " values and " + std::to_string(integers.size()) +
                                        " places for integers, expected " + std::to_string(values_));
  const double length = norm_of(values);
  const double factor = !std::isfinite(length) ? 0 : (length > norm_ ? norm_ / length : 1) / step_;
  RandomWords rounding(source);
  double squares = 0;
  do {
    squares = 0;
    for (std::size_t i = 0; i < values_; ++i) {
      const double scaled = factor == 0 ? 0 : values[i] * factor;
      const double below = std::floor(scaled);
      const double rounded = below + (rounding.uniform() < scaled - below ? 1 : 0);
      squares += rounded * rounded;
      integers[i] = static_cast<std::int32_t>(rounded);
    }
  } while (squares > l2_ * l2_);
  DiscreteGaussian noise(sigma_ / step_, source);
  for (std::int32_t& integer : integers) {
    const std::int64_t sum = integer + noise.draw();
    integer = static_cast<std::int32_t>(std::clamp<std::int64_t>(sum, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()));
  }
}

double step_for(unsigned bits, std::size_t values, double clients, double sum_norm, double noise) {
  if (!(bits >= 1 && bits <= 32 && values > 0 && clients >= 1 && sum_norm >= 0 && noise >= 0))
    throw Error(Errc::kBadArgument, "words of " + std::to_string(bits) + " bits for " + std::to_string(clients) + " clients have no step");
  // 2^bits · step = 2 · 6 · √(sum_norm²/values + noise² + clients · step²/4), solved for the step.
  constexpr double kDeviations = 6;
  const double half = std::ldexp(0.5, static_cast<int>(bits)) / kDeviations;
  const double left = half * half - clients / 4;
  if (left <= 0)
    throw Error(Errc::kBadArgument, "words of " + std::to_string(bits) + " bits are too few for the rounding of " + std::to_string(clients) + " clients; take more");
  return std::sqrt((sum_norm * sum_norm / static_cast<double>(values) + noise * noise) / left);
}

}  // namespace fewbits::privacy
