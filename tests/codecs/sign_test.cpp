#include <gtest/gtest.h>

#include "tests/codecs/hard_inputs.h"

namespace fewbits::test {
namespace {

std::vector<float> round_trip(std::span<const float> x) {
  const Codec codec = Codec::compile("sign", x.size());
  return codec.decode(codec.encode(x, {1, 2, 3}), {1});
}

double sum_of_magnitudes(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += std::abs(static_cast<double>(value));
  return sum;
}

// Signs of x, zeros counted as positive, times ‖x‖₁/n (Karimireddy et al. 2019), so that the error is 1 − ‖x‖₁²/(n‖x‖²)
// exactly, up to the scale's float32.
TEST(Sign, IsTheMeanMagnitudeWithEachSignAndErrsAsItsFormulaSays) {
  for (const std::size_t n : {1, 2, 3, 37, 256, 1000, 65'536})
    for (const auto& [name, x] : hard_inputs(n)) {
      const auto back = round_trip(x);
      const double scale = sum_of_magnitudes(x) / static_cast<double>(n);
      const double slack = 0x1p-23 * scale + 0x1p-149;
      for (std::size_t i = 0; i < n; ++i) ASSERT_NEAR(back[i], x[i] < 0 ? -scale : scale, slack) << name << ", " << i;
      const double energy = std::pow(norm(x), 2);
      EXPECT_NEAR(squared_distance(back, x), energy - static_cast<double>(n) * scale * scale,
                  2e-6 * energy + static_cast<double>(n) * 0x1p-149 * (scale + 0x1p-149))
          << name << ", " << n;
      EXPECT_LE(squared_distance(back, x), Codec::compile("sign", n).describe().nmse_bound.value() * energy * (1 + 1e-6) +
                                               static_cast<double>(n) * 0x1p-149 * (scale + 0x1p-149))
          << name << ", " << n;
    }
}

// 1 − 2/π of a normal vector, and as measured with 2^20 coordinates elsewhere: 0.363.
TEST(Sign, ErrsAsMeasuredElsewhereOnNormalVectors) {
  const auto x = normal(1 << 16, 8);
  const double nmse = squared_distance(round_trip(x), x) / std::pow(norm(x), 2);
  EXPECT_NEAR(nmse, 1 - 2 / std::numbers::pi, 0.02 * 0.363);
  EXPECT_NEAR(nmse, 0.363, 0.02 * 0.363);
}

TEST(Sign, TakesZerosOfEitherSignForPositive) {
  const std::vector<float> x = {0.0f, -0.0f, -3.0f, 1.0f};
  EXPECT_EQ(round_trip(x), (std::vector<float>{1, 1, -1, 1}));
  EXPECT_TRUE(same_bits(round_trip(std::vector<float>{-0.0f, 0.0f}), std::vector<float>(2)));
  // A mean that rounds to zero leaves no signs.
  EXPECT_TRUE(same_bits(round_trip(std::vector<float>{-0x1p-149f, 0, 0}), std::vector<float>(3)));
}

TEST(Sign, IsBiased) { EXPECT_EQ(Codec::compile("hadamard+sign", 64).describe().unbiased, Unbiased::kNo); }

}  // namespace
}  // namespace fewbits::test
