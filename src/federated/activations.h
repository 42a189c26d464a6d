#pragma once

#include <bit>
#include <cstdint>

// Without branches, calls and tables, so that compilers make vectors of loops over them; of additions, products and
// quotients only, so that the bits are the same on every machine.
namespace fewbits::federated {

// The nearer of +-87 beyond them; NaN stays NaN. In integers, whose order is that of magnitudes: for two comparisons of
// floats g++ 12 makes branches, and no vectors.
inline float within_87(float x) {
  constexpr std::int32_t kMost = std::bit_cast<std::int32_t>(87.0f), kInfinity = 0x7F800000;
  const auto bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t magnitude = bits & 0x7FFFFFFF;
  const std::int32_t bounded = (magnitude > kMost) & (magnitude <= kInfinity) ? kMost : magnitude;
  return std::bit_cast<float>((bits & ~0x7FFFFFFF) | bounded);
}

// e^x with a relative error below 2^-21 for |x| <= 87, of the nearer end beyond; NaN stays NaN. x = n ln 2 + r with
// |r| <= ln 2 / 2, and e^r by its Taylor polynomial, whose first missing term is below r^7 / 7! = 1.2e-7.
inline float fast_exp(float x) {
  constexpr float kShift = 0x1.8p23f;  // a sum with it has its last bit at 1
  x = within_87(x);
  const float shifted = x * 0x1.715476p+0f + kShift;
  const float n = shifted - kShift;
  const float r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;  // the first product is exact
  const float tail = 1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720)));
  const float value = 1 + (r + r * r * (0.5f + r * tail));
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(kShift) + 127u;
  return value * std::bit_cast<float>(exponent << 23);
}

inline float sigmoid(float x) { return 1 / (1 + fast_exp(-x)); }

// Off by at most 2^-22: near 0 it has no more digits than that.
inline float fast_tanh(float x) { return 1 - 2 / (1 + fast_exp(2 * x)); }

}  // namespace fewbits::federated
