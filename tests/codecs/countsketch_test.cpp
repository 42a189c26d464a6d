#include <gtest/gtest.h>

#include "tests/codecs/hard_inputs.h"

namespace fewbits::test {
namespace {

Codec sketch(const std::string& parameters, std::size_t n, const std::string& behind = "f32") {
  return Codec::compile("countsketch:" + parameters + "+" + behind, n);
}

// (n − 1)/(rows·columns), for every input: of each coordinate (‖x‖² − x_i²)/(rows·columns). The energy of one round is a sum over
// pairs of coordinates that meet; its standard error over the rounds is estimated from them, 6 of it, and 2 %.
TEST(CountSketch, ErrsByItsExactVariance) {
  for (const auto& [parameters, cells] :
       {std::pair{"columns=50", 50.0}, {"rows=4,columns=25", 100.0}, {"rows=2,keep=0.5", 100.0}, {"keep=1", 200.0}})
    for (const auto& [name, x] : hard_inputs(200)) {
      if (name == "denormals" || name == "zeros") continue;   // in float32 cells, or no energy
      const Codec codec = sketch(parameters, 200);
      EXPECT_NEAR(codec.describe().nmse_bound.value(), 199 / cells, 1e-12);
      constexpr std::uint32_t kRounds = 4000;
      double sum = 0, squares = 0;
      for (std::uint32_t round = 0; round < kRounds; ++round) {
        const double nmse = squared_distance(codec.decode(codec.encode(x, {7, round, 1}), {7}), x) / std::pow(norm(x), 2);
        sum += nmse;
        squares += nmse * nmse;
      }
      const double mean = sum / kRounds;
      const double error = std::sqrt((squares / kRounds - mean * mean) / kRounds);
      EXPECT_NEAR(mean, 199 / cells, 6 * error + 1e-9) << parameters << ", " << name;
      EXPECT_NEAR(mean, 199 / cells, 0.02 * 199 / cells + 3 * error) << parameters << ", " << name;
    }
}

// Mean error of 4,000 rounds against the variance of each coordinate, 6 standard errors; a coordinate's error has at most the
// magnitude Σ|x|, so the sum is normal enough where that is not far over the standard deviation: not the spikes.
TEST(CountSketch, IsUnbiasedByTheMeanOfItsRows) {
  constexpr std::uint32_t kRounds = 4000;
  for (const char* parameters : {"columns=10", "rows=3,columns=7", "rows=2,columns=10,seed=client"})
    for (const auto& [name, x] : hard_inputs(60)) {
      if (name == "denormals" || name == "heavy tails") continue;
      const Codec codec = sketch(parameters, 60);
      std::vector<double> error(x.size());
      for (std::uint32_t round = 0; round < kRounds; ++round) {
        const auto back = codec.decode(codec.encode(x, {7, round, round % 5}), {7});
        for (std::size_t i = 0; i < x.size(); ++i) error[i] += static_cast<double>(back[i]) - static_cast<double>(x[i]);
      }
      const double cells = 59 / codec.describe().nmse_bound.value();
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double variance = (std::pow(norm(x), 2) - std::pow(static_cast<double>(x[i]), 2)) / cells;
        EXPECT_LE(std::abs(error[i]), 6 * std::sqrt(variance * kRounds) + 1e-3) << parameters << ", " << name << ", " << i;
      }
    }
}

// Tables add up: the mean of sketches is the sketch of the mean. Nothing is left of the difference but float32.
TEST(CountSketch, OfSumsIsTheSumOfSketches) {
  const Codec codec = sketch("rows=3,columns=20", 300);
  Aggregator sum(codec, {7, 3});
  std::vector<float> mean(300);
  for (std::uint64_t client = 0; client < 8; ++client) {
    const auto x = normal(300, client);
    sum.add(codec.encode(x, {7, 3, client}), {client, 1});
    for (std::size_t i = 0; i < x.size(); ++i) mean[i] += x[i] / 8;
  }
  const auto of_mean = codec.decode(codec.encode(mean, {7, 3, 100}), {7});
  const auto got = sum.mean();
  for (std::size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(got[i], of_mean[i], 1e-5);
  EXPECT_EQ(codec.describe().groups.at(0).sum_domain, "countsketch");
  EXPECT_EQ(sketch("columns=20,seed=client", 300).describe().groups.at(0).sum_domain, "update");
}

// Five large coordinates among 1000 in 5 rows of 100 cells: each is alone in most of its rows, so the median is right to
// what the small ones add; the mean is not.
TEST(CountSketch, FindsLargeCoordinatesByTheMedianOfItsRows) {
  auto x = normal(1000, 1, 0.01);
  for (const std::size_t at : {3, 200, 417, 611, 999}) x[at] = at % 2 == 0 ? 10.0f : -10.0f;
  const Codec median = sketch("rows=5,columns=100,estimate=median", 1000);
  EXPECT_EQ(median.describe().unbiased, Unbiased::kNo);
  EXPECT_EQ(median.describe().nmse_bound, std::nullopt);
  EXPECT_EQ(median.describe().groups.at(0).sum_domain, "update");
  for (std::uint32_t round = 0; round < 50; ++round) {
    const auto back = median.decode(median.encode(x, {7, round, 1}), {7});
    int right = 0;
    for (const std::size_t at : {3, 200, 417, 611, 999}) right += std::abs(back[at] - x[at]) < 0.5 ? 1 : 0;
    EXPECT_GE(right, 4) << round;
  }
  const double by_median = squared_distance(median.decode(median.encode(x, {7, 0, 1}), {7}), x);
  const Codec mean = sketch("rows=5,columns=100", 1000);
  EXPECT_LT(by_median, squared_distance(mean.decode(mean.encode(x, {7, 0, 1}), {7}), x) / 5);
}

TEST(CountSketch, HasTheCellsOfItsParametersButNoMoreThanCoordinates) {
  const auto cells = [](const std::string& parameters, std::size_t n) {
    const auto groups = sketch(parameters, n).describe().groups;
    return groups.empty() ? 0 : groups[0].values;
  };
  EXPECT_EQ(cells("columns=7", 100), 7u);
  EXPECT_EQ(cells("rows=3,columns=7", 100), 21u);
  EXPECT_EQ(cells("rows=3,columns=50", 100), 99u);
  EXPECT_EQ(cells("rows=5,keep=0.1", 100), 10u);
  EXPECT_EQ(cells("rows=5,keep=1e-9", 100), 5u);
  EXPECT_EQ(cells("rows=16,columns=2", 3), 3u);
  EXPECT_EQ(cells("rows=16,columns=2", 1), 1u);
  EXPECT_EQ(cells("rows=16,columns=2", 0), 0u);
  EXPECT_EQ(refusal([] { sketch("rows=3", 10); }), Errc::kBadPlan);
  EXPECT_EQ(refusal([] { sketch("columns=3,keep=0.5", 10); }), Errc::kBadPlan);
}

}  // namespace
}  // namespace fewbits::test
