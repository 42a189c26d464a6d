#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "fewbits/error.h"
#include "fewbits/privacy/discrete_gaussian.h"
#include "tests/privacy/seeded_source.h"

namespace fewbits::privacy {
namespace {

// Chi-square of draws of `drawn` against the exact probabilities of `sigma`; bins of equal integers, joined in the tails until 20 are expected.
struct Fit {
  double chi_square = 0;
  double degrees = 0;
};

Fit fit(double drawn, std::size_t draws, std::uint64_t seed, double sigma) {
  SeededSource source(seed);
  DiscreteGaussian gaussian(drawn, source);
  std::map<std::int64_t, std::size_t> counts;
  for (std::size_t i = 0; i < draws; ++i) ++counts[gaussian.draw()];
  const auto farthest = static_cast<std::int64_t>(std::ceil(12 * sigma)) + 1;
  double all = 0;
  for (std::int64_t k = -farthest; k <= farthest; ++k) all += std::exp(-static_cast<double>(k * k) / (2 * sigma * sigma));
  Fit result;
  double expected = 0, met = 0;
  const auto close = [&] {
    result.chi_square += (met - expected) * (met - expected) / expected;
    ++result.degrees;
    expected = met = 0;
  };
  for (std::int64_t k = -farthest; k <= farthest; ++k) {
    expected += static_cast<double>(draws) * std::exp(-static_cast<double>(k * k) / (2 * sigma * sigma)) / all;
    met += static_cast<double>(counts[k]);
    if (expected >= 20 && k < farthest) close();
  }
  if (expected > 1) close();
  --result.degrees;
  return result;
}

// Exceeded by a sound sampler with a chance of 1e-6: mean + 4.9 standard deviations, and what the square's skewness adds.
double bound(double degrees) { return degrees + 4.9 * std::sqrt(2 * degrees) + 16; }

class NoiseOf : public testing::TestWithParam<double> {};

TEST_P(NoiseOf, HasTheProbabilitiesOfTheDiscreteGaussian) {
  const Fit met = fit(GetParam(), 200'000, 1, GetParam());
  EXPECT_GE(met.degrees, GetParam() < 0.5 ? 2 : 3);
  EXPECT_LT(met.chi_square, bound(met.degrees)) << met.degrees << " degrees";
}

INSTANTIATE_TEST_SUITE_P(Sigmas, NoiseOf, testing::Values(0.3, 0.5, 1.0, 1.7, 3.3, 20.0, 150.0));

TEST(Noise, OfTwoPercentMoreIsSeen) {
  const Fit met = fit(3.3, 400'000, 2, 3.3 / 1.02);
  EXPECT_GT(met.chi_square, bound(met.degrees));
}

// Too wide for bins of single integers: moments, and the parts of the line that a normal value has.
TEST(Noise, OfManyStepsIsNormal) {
  for (const double sigma : {0x1p16 + 0.25, 0x1p24, 0x1p28}) {
    SeededSource source(3);
    DiscreteGaussian gaussian(sigma, source);
    constexpr std::size_t kDraws = 100'000;
    double sum = 0, squares = 0, fourth = 0, low_bits = 0;
    for (std::size_t i = 0; i < kDraws; ++i) {
      const std::int64_t k = gaussian.draw();
      const double z = static_cast<double>(k) / sigma;
      sum += z;
      squares += z * z;
      fourth += z * z * z * z;
      low_bits += static_cast<double>(k & 1);
    }
    EXPECT_NEAR(sum / kDraws, 0, 5 / std::sqrt(kDraws)) << sigma;
    EXPECT_NEAR(squares / kDraws, 1, 5 * std::sqrt(2.0 / kDraws)) << sigma;
    EXPECT_NEAR(fourth / kDraws, 3, 5 * std::sqrt(96.0 / kDraws)) << sigma;
    EXPECT_NEAR(low_bits / kDraws, 0.5, 5 * 0.5 / std::sqrt(kDraws)) << sigma;
  }
}

TEST(Noise, IsNeverNarrowerThanAsked) {
  SeededSource source(4);
  for (const double sigma : {0x1p-10, 0.1, 1.0, 2.0 / 3, 12345.678, 0x1p27 + 0.3, 0x1p28}) {
    const double drawn = DiscreteGaussian(sigma, source).sigma();
    EXPECT_GE(drawn, sigma);
    EXPECT_LE(drawn, sigma * (1 + 1e-3));
    if (sigma >= 0x1p7) {
      EXPECT_LE(drawn, sigma * (1 + 0x1p-27));
    }
  }
}

TEST(Noise, RefusesWhatItCannotDraw) {
  SeededSource source(5);
  for (const double sigma : {0.0, -1.0, 0x1p-11, 0x1.01p28, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    EXPECT_THROW(DiscreteGaussian(sigma, source), Error) << sigma;
}

}  // namespace
}  // namespace fewbits::privacy
