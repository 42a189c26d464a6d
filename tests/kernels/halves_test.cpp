#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "tests/engine/support.h"

namespace fewbits {
namespace {

// IEEE 754-2019, binary16: 1 sign, 5 exponent bits of bias 15, 10 of fraction.
double half_by_definition(std::uint32_t pattern) {
  const int exponent = static_cast<int>(pattern >> 10 & 31);
  const double fraction = pattern & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (pattern & 0x8000) != 0 ? -magnitude : magnitude;
}

bool half_is_finite(std::uint32_t pattern) { return (pattern >> 10 & 31) != 31; }

// Nearest of the patterns lo and lo + 1 (of one sign, magnitudes rising); ties to the even one.
std::uint32_t nearest(std::uint32_t lo, double value, double low, double high) {
  const double below = std::abs(value - low);
  const double above = std::abs(high - value);
  if (below != above) return below < above ? lo : lo + 1;
  return lo % 2 == 0 ? lo : lo + 1;
}

TEST(Half, EveryPatternHasItsValueAndComesBack) {
  for (std::uint32_t pattern = 0; pattern < 65536; ++pattern) {
    const auto half = static_cast<std::uint16_t>(pattern);
    const float value = kernels::from_half(half);
    if (half_is_finite(pattern)) {
      ASSERT_EQ(static_cast<double>(value), half_by_definition(pattern)) << pattern;
      ASSERT_EQ(std::signbit(value), pattern >= 0x8000) << pattern;
      ASSERT_EQ(kernels::to_half(value), half);
    } else if ((pattern & 1023) == 0) {
      ASSERT_EQ(value, pattern >= 0x8000 ? -INFINITY : INFINITY);
      ASSERT_EQ(kernels::to_half(value), half);
    } else {
      ASSERT_TRUE(std::isnan(value)) << pattern;
      ASSERT_TRUE(std::isnan(kernels::from_half(kernels::to_half(value)))) << pattern;
    }
  }
}

// Between each two neighbours: the middle (a tie), the floats beside it, and the floats beside the ends.
TEST(Half, RoundsToNearestAndTiesToEven) {
  for (std::uint32_t lo = 0; lo < 0x7BFF; ++lo) {
    const double low = half_by_definition(lo);
    const double high = half_by_definition(lo + 1);
    const auto middle = static_cast<float>((low + high) / 2);  // exact: 12 bits of 24
    for (const float value : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, INFINITY),
                              std::nextafter(static_cast<float>(low), INFINITY)}) {
      const std::uint32_t want = nearest(lo, static_cast<double>(value), low, high);
      ASSERT_EQ(kernels::to_half(value), want) << value;
      ASSERT_EQ(kernels::to_half(-value), want | 0x8000) << value;
    }
  }
}

// 65504 is the largest; from halfway to 65536 on, infinity.
TEST(Half, BeyondTheRangeIsInfinity) {
  EXPECT_EQ(kernels::to_half(65504.0f), 0x7BFF);
  EXPECT_EQ(kernels::to_half(std::nextafter(65520.0f, 0.0f)), 0x7BFF);
  for (const float value : {65520.0f, 65535.0f, 65536.0f, 1e10f, 3.4e38f, INFINITY}) {
    EXPECT_EQ(kernels::to_half(value), 0x7C00) << value;
    EXPECT_EQ(kernels::to_half(-value), 0xFC00) << value;
  }
  EXPECT_EQ(kernels::to_half(0x1p-25f), 0);  // a tie with zero, which is even
  EXPECT_EQ(kernels::to_half(std::nextafter(0x1p-25f, 1.0f)), 1);
  EXPECT_EQ(kernels::to_half(0x1p-149f), 0);
}

#ifdef __FLT16_MANT_DIG__
TEST(Half, AgreesWithTheCompilersOnRandomFloats) {
  RandomReader random = test::reader(16);
  for (int i = 0; i < 2'000'000; ++i) {
    const auto value = std::bit_cast<float>(random.next());
    if (std::isnan(value)) continue;
    const auto half = static_cast<_Float16>(value);
    ASSERT_EQ(kernels::to_half(value), std::bit_cast<std::uint16_t>(half)) << value;
  }
}
#endif

TEST(BFloat, EveryPatternHasItsValueAndComesBack) {
  for (std::uint32_t pattern = 0; pattern < 65536; ++pattern) {
    const auto bits = static_cast<std::uint16_t>(pattern);
    const float value = kernels::from_bfloat(bits);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(value), pattern << 16);
    const std::uint16_t back = kernels::to_bfloat(value);
    ASSERT_TRUE(std::isnan(value) ? std::isnan(kernels::from_bfloat(back)) : back == bits) << pattern;
  }
}

TEST(BFloat, RoundsToNearestAndTiesToEven) {
  for (std::uint32_t lo = 0; lo < 0x7F7F; ++lo) {
    const double low = std::bit_cast<float>(lo << 16);
    const double high = std::bit_cast<float>((lo + 1) << 16);
    for (const std::uint32_t below : {0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const auto value = std::bit_cast<float>(lo << 16 | below);
      const std::uint32_t want = nearest(lo, static_cast<double>(value), low, high);
      ASSERT_EQ(kernels::to_bfloat(value), want) << value;
      ASSERT_EQ(kernels::to_bfloat(-value), want | 0x8000) << value;
    }
  }
  EXPECT_EQ(kernels::to_bfloat(3.4028235e38f), 0x7F80);
  EXPECT_EQ(kernels::to_bfloat(std::bit_cast<float>(0x7F7F'7FFFu)), 0x7F7F);
}

// A NaN whose fraction lies below what is kept must not become an infinity.
TEST(Halves, EveryNaNStaysNaN) {
  for (const std::uint32_t fraction : {1u, 0x1000u, 0x7FFFu, 0x8000u, 0x400000u, 0x7FFFFFu})
    for (const std::uint32_t sign : {0u, 0x8000'0000u}) {
      const auto nan = std::bit_cast<float>(sign | 0x7F80'0000u | fraction);
      EXPECT_TRUE(std::isnan(kernels::from_half(kernels::to_half(nan)))) << fraction;
      EXPECT_TRUE(std::isnan(kernels::from_bfloat(kernels::to_bfloat(nan)))) << fraction;
    }
}

}  // namespace
}  // namespace fewbits
