#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "kernels/kernels.h"
#include "tests/engine/support.h"
#include "tests/kernels/format_model.h"

namespace fewbits {
namespace {

std::vector<std::int32_t> quantized(std::uint64_t key, std::uint64_t first, std::uint32_t levels,
                                    const std::vector<float>& x) {
  std::vector<std::int32_t> symbols(x.size(), -1);
  kernels::quantize_uniform(key, first, kernels::min_max(x), levels, x, symbols);
  return symbols;
}

// Ranges of every kind: around zero, far from it, denormal, the whole of float32, and one that only a product of two
// powers of two can bring to [1, 2).
TEST(QuantizeUniform, SymbolsAreThoseOfTheFormat) {
  for (const std::uint32_t levels : {1u, 3u, 15u, 127u, 255u})
    for (const std::size_t n : {1, 2, 15, 16, 17, 31, 32, 33, 1000, 4095, 4096, 4097, 9000})
      for (const double scale : {1.0, 1e-40, 1e-44, 1e37, 6e37}) {
        std::vector<float> x = test::normal(n, n * 7 + levels, scale);
        if (n > 20) {
          x[3] = 0;
          x[4] = -x[5];
        }
        ASSERT_TRUE(kernels::all_finite(x));
        const std::uint64_t key = stream_key({n, levels});
        const std::uint64_t first = 32 * (n % 5);
        const auto symbols = quantized(key, first, levels, x);
        const kernels::Range range = kernels::min_max(x);
        format_model::Stream dither(key);
        for (std::size_t i = 0; i < n; ++i) {
          const std::uint32_t want = format_model::symbol(dither, first + i, range.min, range.max, levels, x[i]);
          ASSERT_EQ(static_cast<std::uint32_t>(symbols[i]), want)
              << levels << " levels, n " << n << ", scale " << scale << ", " << i;
          ASSERT_LE(want, levels);
        }
      }
}

// A value that is a point already stays there whatever the dither: its variance f(1 − f) is zero. A dither that reached
// one step, or were shifted by any amount, would move some of the 2^20 values.
TEST(QuantizeUniform, PointsStayWhereTheyAre) {
  for (const std::uint32_t levels : {1u, 2u, 4u, 128u, 255u}) {
    std::vector<float> x(1 << 20);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 2654435761u % (levels + 1));
    const auto symbols = quantized(stream_key({levels}), 0, levels, x);
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(static_cast<float>(symbols[i]), x[i]) << levels << ", " << i;
  }
}

// Over the 2^16 values that 2^15 words with all upper halves would serve, the dither takes its values evenly: the mean
// symbol of a value at fraction f is f within 6 standard errors √(f(1−f)/N).
TEST(QuantizeUniform, RoundsUpAsOftenAsItsFractionSays) {
  constexpr std::size_t kN = 1 << 20;
  for (const float f : {0.001f, 0.1f, 0.25f, 0.5f, 0.7f, 0.999f}) {
    std::vector<float> x(kN, f);
    x[0] = 0;
    x[1] = 1;
    const auto symbols = quantized(stream_key({std::bit_cast<std::uint32_t>(f)}), 0, 1, x);
    double ups = 0;
    for (std::size_t i = 2; i < kN; ++i) ups += symbols[i];
    const double p = f;
    const double error = std::sqrt(p * (1 - p) / (kN - 2));
    EXPECT_LE(std::abs(ups / (kN - 2) - p), 6 * error) << f;
  }
}

// The two values that share a word have dithers of their own: over pairs (g, g + 16) at f = 1/2 both go up in 1/4.
TEST(QuantizeUniform, ValuesThatShareAWordAreIndependent) {
  constexpr std::size_t kN = 1 << 18;
  std::vector<float> x(kN, 0.5f);
  x[0] = 0;
  x[1] = 1;
  const auto symbols = quantized(stream_key({12}), 0, 1, x);
  double both = 0, pairs = 0;
  for (std::size_t start = 32; start < kN; start += 32)
    for (std::size_t lane = 0; lane < 16; ++lane, ++pairs)
      both += symbols[start + lane] != 0 && symbols[start + 16 + lane] != 0;
  EXPECT_LE(std::abs(both / pairs - 0.25), 6 * std::sqrt(0.25 * 0.75 / pairs));
}

TEST(QuantizeUniform, OneValueIsSymbolZero) {
  for (const float value : {0.0f, 3.0f, -1e38f, 1e-45f})
    EXPECT_EQ(quantized(1, 0, 7, std::vector<float>(50, value)), std::vector<std::int32_t>(50, 0));
}

TEST(AccumulateUniform, AddsTheWeightedPoint) {
  const kernels::Range range{-1.5f, 2.0f};
  const std::vector<std::int32_t> symbols = {0, 1, 7};
  std::vector<double> sum = {10, 20, 30};
  kernels::accumulate_uniform(range, 7, symbols, 2.0, sum);
  EXPECT_EQ(sum, (std::vector<double>{10 - 3.0, 20 - 3.0 + 1.0, 30 + 4.0}));
}

}  // namespace
}  // namespace fewbits
