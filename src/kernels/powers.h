#pragma once

#include <bit>
#include <cstdint>

// Powers of two and logarithms on grids, of additions and multiplications alone, so that every machine gets the same bits.
namespace fewbits {

// 2^exponent, exact; exponent in -1022..1023.
constexpr double power_of_two(int exponent) noexcept {
  return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

// 2^(i/32), correctly rounded.
inline constexpr double kPowers32[32] = {
    0x1.0000000000000p+0, 0x1.059b0d3158574p+0, 0x1.0b5586cf9890fp+0, 0x1.11301d0125b51p+0,
    0x1.172b83c7d517bp+0, 0x1.1d4873168b9aap+0, 0x1.2387a6e756238p+0, 0x1.29e9df51fdee1p+0,
    0x1.306fe0a31b715p+0, 0x1.371a7373aa9cbp+0, 0x1.3dea64c123422p+0, 0x1.44e086061892dp+0,
    0x1.4bfdad5362a27p+0, 0x1.5342b569d4f82p+0, 0x1.5ab07dd485429p+0, 0x1.6247eb03a5585p+0,
    0x1.6a09e667f3bcdp+0, 0x1.71f75e8ec5f74p+0, 0x1.7a11473eb0187p+0, 0x1.82589994cce13p+0,
    0x1.8ace5422aa0dbp+0, 0x1.93737b0cdc5e5p+0, 0x1.9c49182a3f090p+0, 0x1.a5503b23e255dp+0,
    0x1.ae89f995ad3adp+0, 0x1.b7f76f2fb5e47p+0, 0x1.c199bdd85529cp+0, 0x1.cb720dcef9069p+0,
    0x1.d5818dcfba487p+0, 0x1.dfc97337b9b5fp+0, 0x1.ea4afa2a490dap+0, 0x1.f50765b6e4540p+0,
};

// 2^(e/32); e in -32000..32000.
constexpr double power32(int e) noexcept {
  const int whole = e >= 0 ? e / 32 : -((31 - e) / 32);
  return kPowers32[e - 32 * whole] * power_of_two(whole);
}

// The integer nearest to steps·log2(value) for steps 1, 2, 4, …, 32 (in the logarithm); value positive, normal, finite.
constexpr int nearest_log2(double value, int steps) noexcept {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  const int exponent = static_cast<int>(bits >> 52) - 1023;
  const double fraction = std::bit_cast<double>((bits & 0xF'FFFF'FFFF'FFFF) | 0x3FF0'0000'0000'0000);
  // The boundary above step k is 2^((k + 1/2)/steps): an odd multiple of 1/64 where steps is 32, so compare squares.
  const double square = fraction * fraction;
  int k = 0;
  while (k < steps && square >= power32(32 * (2 * k + 1) / steps)) ++k;
  return exponent * steps + k;
}

}  // namespace fewbits
