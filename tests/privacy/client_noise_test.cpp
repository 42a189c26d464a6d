#include "fewbits/privacy/client_noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "fewbits/error.h"
#include "fewbits/privacy/clipping.h"
#include "fewbits/privacy/spread_noise.h"
#include "tests/privacy/seeded_source.h"

namespace fewbits::privacy {
namespace {

std::vector<float> spread(std::size_t elements, double norm, std::uint64_t seed) {
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), seed}));
  std::vector<float> values(elements);
  for (float& value : values) value = static_cast<float>(random.uniform() - 0.5);
  const double factor = norm / norm_of(values);
  for (float& value : values) value = static_cast<float>(value * factor);
  return values;
}

double norm_of(std::span<const std::int32_t> integers) {
  double squares = 0;
  for (const std::int32_t k : integers) squares += static_cast<double>(k) * k;
  return std::sqrt(squares);
}

// With next to no noise the integers are the rounded values: their norm never exceeds what is accounted.
TEST(ClientNoise, RoundedValuesAreWithinTheAccountedNorm) {
  SeededSource source(1);
  for (const std::size_t elements : {1, 2, 63, 1000}) {
    for (const double step : {0.01, 0.2, 1.0, 3.0}) {
      const ClientNoise noise(elements, 1, step, step * 0x1p-10);
      std::vector<std::int32_t> integers(elements);
      for (std::uint64_t trial = 0; trial < 200; ++trial) {
        std::vector<float> values = spread(elements, trial % 3 == 0 ? 1e-3 : trial % 3 == 1 ? 1 : 1e6, trial);
        if (trial % 5 == 0) values.assign(elements, static_cast<float>(step / 2));   // halves: the most that rounding adds
        noise.encode(values, integers, source);
        EXPECT_LE(norm_of(integers), noise.l2()) << elements << " of step " << step;
      }
    }
  }
}

TEST(ClientNoise, TheMeanIsTheClippedValue) {
  SeededSource source(2);
  const ClientNoise noise(64, 1, 0.05, 0.1);
  const std::vector<float> values = spread(64, 4, 7);   // clipped to a quarter
  std::vector<std::int32_t> integers(64);
  std::vector<double> sums(64), squares(64);
  constexpr int kTrials = 4000;
  for (int trial = 0; trial < kTrials; ++trial) {
    noise.encode(values, integers, source);
    for (std::size_t i = 0; i < 64; ++i) {
      sums[i] += integers[i] * 0.05;
      const double error = integers[i] * 0.05 - values[i] / 4;
      squares[i] += error * error;
    }
  }
  double variance = 0;
  for (std::size_t i = 0; i < 64; ++i) {
    EXPECT_NEAR(sums[i] / kTrials, values[i] / 4, 5 * 0.105 / std::sqrt(kTrials)) << i;
    variance += squares[i] / kTrials / 64;
  }
  EXPECT_GT(variance, 0.1 * 0.1);
  EXPECT_LT(variance, 0.1 * 0.1 + 0.05 * 0.05 / 4);
}

TEST(ClientNoise, ADivergedClientSendsNoiseAlone) {
  SeededSource source(3);
  const ClientNoise noise(3, 1, 0.1, 0.1 * 0x1p-10);
  std::vector<std::int32_t> integers(3);
  noise.encode(std::vector<float>{1, std::numeric_limits<float>::quiet_NaN(), 2}, integers, source);
  EXPECT_EQ(integers, (std::vector<std::int32_t>{0, 0, 0}));
  noise.encode(std::vector<float>{1, std::numeric_limits<float>::infinity(), 2}, integers, source);
  EXPECT_EQ(integers, (std::vector<std::int32_t>{0, 0, 0}));
}

TEST(ClientNoise, RefusesWhatItCannotDraw) {
  SeededSource source(4);
  std::vector<std::int32_t> integers(3);
  EXPECT_THROW(ClientNoise(3, 0, 1, 1), Error);
  EXPECT_THROW(ClientNoise(3, 1, 0, 1), Error);
  EXPECT_THROW(ClientNoise(3, 1, 1, 1e-4), Error);
  EXPECT_THROW(ClientNoise(3, 1, 1e-10, 1e-5), Error);
  EXPECT_THROW(ClientNoise(3, 1, 1, std::numeric_limits<double>::quiet_NaN()), Error);
  EXPECT_THROW(ClientNoise(4, 1, 1, 1).encode(std::vector<float>(3), integers, source), Error);
}

// Sums of clients that all send the same, the worst that a norm allows, fit into the words.
TEST(StepFor, SumsFitIntoTheWords) {
  SeededSource source(5);
  constexpr std::size_t kValues = 4096;
  constexpr double kClients = 20;
  const double sigma = 0.3 / std::sqrt(kValues);
  const double step = step_for(10, kValues, kClients, kClients * 1.0, sigma * std::sqrt(kClients));
  const ClientNoise noise(kValues, 1, step, sigma);
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 9}));
  std::vector<float> values(kValues);   // normal, as a rotation makes them
  for (float& value : values) {
    double sum = -6;
    for (int k = 0; k < 12; ++k) sum += random.uniform();
    value = static_cast<float>(sum);
  }
  const double factor = 1 / privacy::norm_of(values);
  for (float& value : values) value = static_cast<float>(value * factor);
  std::vector<std::int64_t> sums(kValues);
  std::vector<std::int32_t> integers(kValues);
  for (int client = 0; client < 20; ++client) {
    noise.encode(values, integers, source);
    for (std::size_t i = 0; i < kValues; ++i) sums[i] += integers[i];
  }
  std::int64_t most = 0;
  for (const std::int64_t sum : sums) most = std::max(most, std::abs(sum));
  EXPECT_LT(most, 512);
  EXPECT_GT(most, 200);   // and waste no bit
  EXPECT_THROW(step_for(2, kValues, 1000, 1, 0), Error);
  EXPECT_THROW(step_for(33, kValues, 10, 1, 0), Error);
}

// Of 4 clients with a chance of a half: nobody comes with 1/16, at most one with 5/16, two with 11/16, three with 15/16.
TEST(LeastCohort, FewerComeWithAtMostTheChance) {
  EXPECT_EQ(least_cohort(4, 0.5, 0.06), 0u);
  EXPECT_EQ(least_cohort(4, 0.5, 0.07), 1u);
  EXPECT_EQ(least_cohort(4, 0.5, 0.32), 2u);
  EXPECT_EQ(least_cohort(4, 0.5, 0.69), 3u);
  EXPECT_EQ(least_cohort(4, 0.5, 0.94), 4u);
  EXPECT_EQ(least_cohort(7, 1, 1e-9), 7u);
  EXPECT_LT(least_cohort(1000, 0.1, 1e-9), least_cohort(1000, 0.1, 1e-3));
  EXPECT_THROW(least_cohort(4, 0, 0.1), Error);
  EXPECT_THROW(least_cohort(4, 0.5, 0), Error);
}

TEST(SpreadNoise, TheFewestClientsAddWhatTheBudgetAsksFor) {
  const SpreadNoise noise{.values = 1000, .norm = 0.5, .bits = 16, .q = 0.1, .cohort = 100, .least_cohort = 64};
  const double multiplier = noise.multiplier_for(50, 4, 1e-5);
  const ClientNoise client = noise.client(multiplier);
  EXPECT_NEAR(client.sigma() * 8, multiplier * 0.5, 1e-12);
  Accountant accountant;
  const auto spent = [&](double by) { return accountant.spent_with(noise.client(by).round(0.1, 64), 1e-5, 50).epsilon; };
  EXPECT_LE(spent(multiplier), 4);
  EXPECT_GT(spent(multiplier * 0.999), 4);
  EXPECT_THROW((SpreadNoise{1000, 0.5, 4, 0.1, 100, 64}.multiplier_for(50, 4, 1e-5)), Error);   // 4 bits do not hold the rounding
}

}  // namespace
}  // namespace fewbits::privacy
