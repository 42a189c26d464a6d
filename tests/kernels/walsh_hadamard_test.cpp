#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "kernels/kernels.h"
#include "tests/engine/support.h"
#include "tests/kernels/format_model.h"

namespace fewbits {
namespace {

// The definition: entry (i, j) of the matrix is −1 where i and j share an odd number of ones.
std::vector<double> by_definition(const std::vector<float>& x) {
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t j = 0; j < x.size(); ++j)
      y[i] += (std::popcount(i & j) % 2 == 0 ? 1 : -1) * static_cast<double>(x[j]);
  return y;
}

// Each of log2(n) levels adds pairs: a result of magnitude at most S = sum|x| is rounded once a level, so that the
// error is at most log2(n)·2^-24·S to first order; one more for the products of errors.
TEST(WalshHadamard, EqualsTheMatrixOfItsDefinition) {
  for (std::size_t n = 1; n <= 1024; n *= 2) {
    const std::vector<float> x = test::normal(n, n);
    double total = 0;
    for (const float value : x) total += std::abs(static_cast<double>(value));
    std::vector<float> y(x);
    std::vector<double> z(x.begin(), x.end());
    kernels::walsh_hadamard(std::span(y));
    kernels::walsh_hadamard(std::span(z));
    const std::vector<double> want = by_definition(x);
    const double levels = std::log2(static_cast<double>(n)) + 1;
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_NEAR(y[i], want[i], levels * 0x1p-24 * total) << n << ", " << i;
      EXPECT_NEAR(z[i], want[i], 2 * levels * 0x1p-53 * total) << n << ", " << i;
    }
  }
}

TEST(WalshHadamard, OfIntegersIsExactAndItsOwnInverse) {
  for (const std::size_t n : {1, 2, 64, 4096}) {
    std::vector<float> x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(static_cast<int>(i * 37 % 101) - 50);
    std::vector<float> y(x);
    kernels::walsh_hadamard(std::span(y));
    kernels::walsh_hadamard(std::span(y));
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(y[i], static_cast<float>(n) * x[i]);
  }
}

// The order 1, 2, 4, … of the butterflies decides the rounding, and is part of the format: here 1 + 2^-24 rounds to 1
// before the larger values cancel. In another order the tiny value would survive.
TEST(WalshHadamard, AddsNeighboursFirst) {
  std::vector<float> x = {1.0f, 0x1p-24f, -1.0f, 0.0f};
  kernels::walsh_hadamard(std::span(x));
  EXPECT_EQ(x[0], 0.0f);
  std::vector<float> apart = {1.0f, -1.0f, 0x1p-24f, 0.0f};
  kernels::walsh_hadamard(std::span(apart));
  EXPECT_EQ(apart[0], 0x1p-24f);
}

TEST(FlipSigns, AreThoseOfTheFormatForFloatAndDouble) {
  for (const std::size_t n : {0, 1, 15, 16, 17, 511, 512, 513, 1000, 65535, 65536, 65537, 70000}) {
    const std::uint64_t key = stream_key({n});
    std::vector<float> x(n, 1.0f);
    std::vector<double> z(n, 1.0);
    kernels::flip_signs(key, std::span(x));
    kernels::flip_signs(key, std::span(z));
    format_model::Stream model(key);
    for (std::size_t i = 0; i < n; ++i) {
      const float want = format_model::negated(model, i) ? -1.0f : 1.0f;
      ASSERT_EQ(x[i], want) << n << ", " << i;
      ASSERT_EQ(z[i], want) << n << ", " << i;
    }
  }
}

TEST(Scale, MultipliesEveryValue) {
  std::vector<float> x = {1.5f, -2.0f, 0.0f};
  kernels::scale(std::span(x), 0.5f);
  EXPECT_EQ(x, (std::vector<float>{0.75f, -1.0f, 0.0f}));
  std::vector<double> z = {1.5, -2.0};
  kernels::scale(std::span(z), -3.0);
  EXPECT_EQ(z, (std::vector<double>{-4.5, 6.0}));
}

TEST(AllFinite, SeesOneBadValueAnywhere) {
  for (const std::size_t n : {1, 2, 15, 16, 17, 33, 100}) {
    std::vector<float> x(n, -3.4e38f);
    EXPECT_TRUE(kernels::all_finite(x));
    for (std::size_t i = 0; i < n; ++i)
      for (const float bad : {INFINITY, -INFINITY, NAN, -NAN}) {
        x[i] = bad;
        ASSERT_FALSE(kernels::all_finite(x)) << n << ", " << i;
        x[i] = 0;
      }
  }
  EXPECT_TRUE(kernels::all_finite({}));
}

TEST(MinMax, FindsBothEndsAndWritesZeroWithoutASign) {
  for (const std::size_t n : {1, 2, 15, 16, 17, 33, 100})
    for (std::size_t i = 0; i < n; ++i) {
      std::vector<float> x(n, 0.5f);
      x[i] = -7;
      x[(i + 1) % n] = 9;
      const kernels::Range range = kernels::min_max(x);
      ASSERT_EQ(range.min, n == 1 ? 9.0f : -7.0f);
      ASSERT_EQ(range.max, 9.0f);
    }
  for (const float zero : {0.0f, -0.0f}) {
    const kernels::Range range = kernels::min_max(std::vector<float>{zero, -zero, zero});
    EXPECT_FALSE(std::signbit(range.min));
    EXPECT_FALSE(std::signbit(range.max));
  }
}

}  // namespace
}  // namespace fewbits
