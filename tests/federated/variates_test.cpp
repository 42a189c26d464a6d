#include "datasets/variates.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fewbits::datasets {
namespace {

RandomReader reader(std::uint64_t part) {
  return RandomReader(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 20250101, part}));
}

constexpr int kDraws = 200000;

TEST(Variates, LogarithmAndExponentialAreWithinTwoUnitsInTheLastPlace) {
  RandomReader random = reader(1);
  constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
  for (int i = 0; i < kDraws; ++i) {
    const double x = std::ldexp(1 + random.uniform(), static_cast<int>(random.below(2000)) - 1000);
    const double log = std::log(x);
    // Near 1 the logarithm is small: its error is then relative to x - 1, which is exact.
    EXPECT_NEAR(portable_log(x), log, 2 * kEpsilon * std::abs(log)) << x;
    const double near_one = 1 + (random.uniform() - 0.5) * 1e-3;
    EXPECT_NEAR(portable_log(near_one), std::log(near_one), 2 * kEpsilon * std::abs(std::log(near_one))) << near_one;
    const double y = (random.uniform() - 0.5) * 1400;
    EXPECT_NEAR(portable_exp(y), std::exp(y), 2 * kEpsilon * std::exp(y)) << y;
  }
  EXPECT_EQ(portable_log(1), 0);
  EXPECT_EQ(portable_exp(0), 1);
  EXPECT_EQ(portable_exp(-1e300), 0);
}

// Sums of kDraws independent variates: each mean is within 6 standard errors, which come from the known moments.
TEST(Variates, NormalMoments) {
  RandomReader random = reader(2);
  NormalReader normal(random);
  double sum = 0, squares = 0, fourths = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double z = normal.next();
    sum += z;
    squares += z * z;
    fourths += z * z * z * z;
  }
  EXPECT_NEAR(sum / kDraws, 0, 6 * std::sqrt(1.0 / kDraws));
  EXPECT_NEAR(squares / kDraws, 1, 6 * std::sqrt(2.0 / kDraws));
  EXPECT_NEAR(fourths / kDraws, 3, 6 * std::sqrt(96.0 / kDraws));  // Var z^4 = 105 - 9
}

TEST(Variates, GammaMoments) {
  for (const double shape : {0.05, 0.3, 1.0, 2.5, 40.0}) {
    RandomReader random = reader(3);
    NormalReader normal(random);
    double sum = 0, squares = 0;
    for (int i = 0; i < kDraws; ++i) {
      const double g = std::exp(log_gamma_variate(random, normal, shape));
      sum += g;
      squares += g * g;
    }
    const double second = shape * (shape + 1);
    const double fourth = second * (shape + 2) * (shape + 3);
    EXPECT_NEAR(sum / kDraws, shape, 6 * std::sqrt(shape / kDraws)) << shape;
    EXPECT_NEAR(squares / kDraws, second, 6 * std::sqrt((fourth - second * second) / kDraws)) << shape;
  }
}

TEST(Variates, DirichletMoments) {
  RandomReader random = reader(4);
  const std::vector<double> parameters = {0.3, 0, 1.5, 0.3};
  constexpr int kFew = 50000;
  std::vector<double> means(4);
  double squares = 0;
  for (int i = 0; i < kFew; ++i) {
    const std::vector<double> q = dirichlet_variate(random, parameters);
    double sum = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      means[k] += q[k] / kFew;
      sum += q[k];
    }
    squares += q[0] * q[0] / kFew;
    ASSERT_NEAR(sum, 1, 1e-12);
  }
  const double total = 2.1;
  for (std::size_t k = 0; k < 4; ++k) {
    const double mean = parameters[k] / total;
    EXPECT_NEAR(means[k], mean, 6 * std::sqrt(mean * (1 - mean) / (total + 1) / kFew)) << k;
  }
  const double second = 0.3 * 1.3 / (total * (total + 1));
  const double fourth = second * 2.3 * 3.3 / ((total + 2) * (total + 3));
  EXPECT_NEAR(squares, second, 6 * std::sqrt((fourth - second * second) / kFew));
}

TEST(Variates, TinyDirichletParametersFallOnOneEntry) {
  RandomReader random = reader(5);
  for (int i = 0; i < 100; ++i) {
    const std::vector<double> q = dirichlet_variate(random, std::vector<double>(10, 1e-6));
    double largest = 0, sum = 0;
    for (const double value : q) {
      largest = std::max(largest, value);
      sum += value;
    }
    EXPECT_NEAR(sum, 1, 1e-12);
    EXPECT_GT(largest, 0.999);
  }
}

}  // namespace
}  // namespace fewbits::datasets
