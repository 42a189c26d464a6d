#include <gtest/gtest.h>

#include <functional>

#include "tests/codecs/hard_inputs.h"
#include "tests/kernels/binomial.h"

namespace fewbits::test {
namespace {

Codec permk(std::uint32_t cohort, std::size_t n, const std::string& behind = "f32") {
  return Codec::compile("permk:cohort=" + std::to_string(cohort) + "+" + behind, n);
}

std::vector<float> mean_of_cohort(const Codec& codec, std::uint32_t size, std::uint32_t round,
                                  const std::function<std::vector<float>(std::uint32_t)>& update) {
  Aggregator sum(codec, {7, round, size});
  for (std::uint32_t place = 0; place < size; ++place) {
    const std::uint64_t client = 1000 + 17 * place;   // ids need not be places
    sum.add(codec.encode(update(place), {7, round, client, {place, size}}), {client, 1, place});
  }
  return sum.mean();
}

// (N·x)/N is x to the bit, also where N is no power of two: N·x fits into a float64.
TEST(PermK, MakesTheMeanOfEqualUpdatesExact) {
  for (const std::uint32_t size : {1u, 2u, 3u, 7u, 10u, 64u})
    for (const std::size_t n : {0, 1, 2, 3, 9, 10, 11, 63, 64, 65, 1000})
      for (const auto& [name, x] : hard_inputs(std::max<std::size_t>(n, 1))) {
        const auto update = n == 0 ? std::vector<float>() : x;
        for (const std::uint32_t round : {0u, 1u})
          EXPECT_EQ(mean_of_cohort(permk(size, n), size, round, [&](std::uint32_t) { return update; }), update)
              << name << ", " << n << " coordinates, " << size << " clients";
      }
}

// A coordinate comes from one client, times N.
TEST(PermK, TakesEachCoordinateFromOneClient) {
  constexpr std::uint32_t kSize = 6;
  const auto mean = mean_of_cohort(permk(kSize, 100), kSize, 3, [](std::uint32_t place) {
    return std::vector<float>(100, static_cast<float>(place + 1));
  });
  std::vector<int> counts(kSize);
  for (const float value : mean) ++counts.at(static_cast<std::size_t>(value) - 1);
  for (const int count : counts) EXPECT_TRUE(count == 16 || count == 17) << count;   // 100 over 6
}

// Each coordinate falls to a client with the chance 1/N, also where N does not divide n, or is larger: exact tails under 1e-9
// fail.
TEST(PermK, GivesEachClientEachCoordinateEquallyOften) {
  constexpr std::int64_t kRounds = 4000;
  for (const auto& [size, n] : {std::pair{4u, 20}, {3u, 20}, {7u, 5}, {20u, 3}}) {
    const Codec codec = permk(size, static_cast<std::size_t>(n));
    for (const std::uint32_t place : {0u, size / 2, size - 1}) {
      std::vector<std::int64_t> kept(static_cast<std::size_t>(n));
      for (std::uint32_t round = 0; round < kRounds; ++round) {
        const auto back = codec.decode(
            codec.encode(std::vector<float>(kept.size(), 1.0f), {7, round, 1, {place, size}}), {7, {place, size}});
        for (std::size_t i = 0; i < kept.size(); ++i) kept[i] += back[i] != 0;
      }
      for (const std::int64_t count : kept) EXPECT_GE(binomial_tail(count, kRounds, 1.0 / size), 1e-9) << count << ", " << size;
    }
  }
}

// N − 1, over the permutations: ‖x̂ − x‖² = ‖x‖² + (N² − 2N)·(energy of the block), whose mean is ‖x‖²/N. For n divisible by N the
// block is a simple random sample of k = n/N squares, as that of a mask; 2 % are over 6 standard errors.
TEST(PermK, ErrsByTheCohortsSizeLessOne) {
  constexpr std::size_t kN = 6000;
  const auto x = normal(kN, 1);
  for (const std::uint32_t size : {2u, 3u, 10u}) {
    const Codec codec = permk(size, kN);
    double mean = 0, spread = 0;
    for (const float v : x) mean += std::pow(static_cast<double>(v), 2) / kN;
    for (const float v : x) spread += std::pow(std::pow(static_cast<double>(v), 2) - mean, 2) / (kN - 1);
    constexpr std::uint32_t kRounds = 200;
    double energy = 0;
    for (std::uint32_t round = 0; round < kRounds; ++round) {
      const Cohort cohort{round % size, size};
      energy += squared_distance(codec.decode(codec.encode(x, {7, round, 1, cohort}), {7, cohort}), x) / kRounds;
    }
    const double exact = (size - 1.0) * std::pow(norm(x), 2);
    EXPECT_NEAR(*codec.describe().nmse_bound, size - 1.0, 1e-12);
    const double k = static_cast<double>(kN) / size;
    const double error = (static_cast<double>(size) * size - 2.0 * size) * std::sqrt(k * (1 - 1.0 / size) * spread / kRounds);
    EXPECT_NEAR(energy, exact, 6 * error + 1e-6 * exact);
    EXPECT_NEAR(energy, exact, 0.02 * exact);
  }
}

// Over different updates the mean's error is what Szlendak et al. (lemma 2, AB-inequality with A = B = 1) say it is at most: the
// spread of the updates, mean‖x_i‖² − ‖mean‖².
TEST(PermK, ErrsOverACohortByTheSpreadOfItsUpdates) {
  constexpr std::uint32_t kSize = 5;
  constexpr std::size_t kN = 500;
  const Codec codec = permk(kSize, kN);
  const auto common = normal(kN, 1, 3);
  std::vector<std::vector<float>> updates;
  std::vector<double> mean(kN);
  double squares = 0;
  for (std::uint32_t place = 0; place < kSize; ++place) {
    updates.push_back(normal(kN, 10 + place));
    for (std::size_t i = 0; i < kN; ++i) {
      updates.back()[i] += common[i];
      mean[i] += static_cast<double>(updates.back()[i]) / kSize;
    }
    squares += std::pow(norm(updates.back()), 2) / kSize;
  }
  double mean_square = 0;
  for (const double value : mean) mean_square += value * value;
  double energy = 0;
  constexpr std::uint32_t kRounds = 400;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const auto got = mean_of_cohort(codec, kSize, round, [&](std::uint32_t place) { return updates[place]; });
    for (std::size_t i = 0; i < kN; ++i) energy += std::pow(static_cast<double>(got[i]) - mean[i], 2) / kRounds;
  }
  // Here N divides n: the bound is reached. One round's energy is a sum over 500 coordinates, nearly independent: 2 % is
  // more than 6 standard errors of 400 rounds.
  EXPECT_NEAR(energy, squares - mean_square, 0.02 * (squares - mean_square));
}

TEST(PermK, NeedsACohortOfItsSize) {
  const Codec codec = permk(3, 10);
  const auto x = normal(10, 1);
  EXPECT_EQ(refusal([&] { codec.encode(x, {7, 0, 1}); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { codec.encode(x, {7, 0, 1, {0, 2}}); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { codec.encode(x, {7, 0, 1, {3, 3}}); }), Errc::kBadArgument);
  const auto frame = codec.encode(x, {7, 0, 1, {2, 3}});
  EXPECT_EQ(refusal([&] { codec.decode(frame, {7}); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { codec.decode(frame, {7, {3, 3}}); }), Errc::kBadArgument);
  Aggregator other(codec, {7, 0, 4});
  EXPECT_EQ(refusal([&] { other.add(frame, {1, 1, 2}); }), Errc::kBadArgument);
  Aggregator sum(codec, {7, 0, 3});
  EXPECT_EQ(refusal([&] { sum.add(frame, {1, 1, 3}); }), Errc::kBadArgument);
  EXPECT_EQ(sum.clients(), 0u);
  sum.add(frame, {1, 1, 2});
  EXPECT_EQ(refusal([] { Codec::compile("permk:cohort=2+permk:cohort=3+f32", 10); }), Errc::kBadPlan);
}

}  // namespace
}  // namespace fewbits::test
