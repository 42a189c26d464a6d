#include "federated/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace fewbits::federated {
namespace {

TEST(Sampling, AFixedCountIsDistinctSortedAndUniform) {
  Options options;
  options.clients_per_round = 7;
  constexpr std::size_t kClients = 20;
  constexpr std::uint32_t kRounds = 4000;
  std::vector<std::size_t> times(kClients);
  for (std::uint32_t round = 1; round <= kRounds; ++round) {
    const std::vector<std::uint32_t> cohort = sample_clients(options, options.clients_per_round, kClients, round);
    ASSERT_EQ(cohort.size(), 7u);
    ASSERT_EQ(std::set<std::uint32_t>(cohort.begin(), cohort.end()).size(), 7u);
    ASSERT_TRUE(std::is_sorted(cohort.begin(), cohort.end()));
    for (const std::uint32_t client : cohort) ++times.at(client);
  }
  // Binomial with chance 7/20: six standard deviations.
  for (const std::size_t count : times) {
    EXPECT_NEAR(static_cast<double>(count), kRounds * 0.35, 6 * std::sqrt(kRounds * 0.35 * 0.65));
  }
}

TEST(Sampling, ChancesAreIndependent) {
  Options options;
  options.client_probability = 0.25;
  constexpr std::uint32_t kRounds = 4000;
  std::size_t first = 0, both = 0;
  for (std::uint32_t round = 1; round <= kRounds; ++round) {
    const std::vector<std::uint32_t> cohort = sample_clients(options, options.clients_per_round, 10, round);
    const bool has_2 = std::count(cohort.begin(), cohort.end(), 2u) == 1;
    const bool has_9 = std::count(cohort.begin(), cohort.end(), 9u) == 1;
    first += has_2;
    both += has_2 && has_9;
  }
  EXPECT_NEAR(static_cast<double>(first), kRounds / 4.0, 6 * std::sqrt(kRounds * 3.0 / 16));
  EXPECT_NEAR(static_cast<double>(both), kRounds / 16.0, 6 * std::sqrt(kRounds * 15.0 / 256));
}

TEST(Sampling, StreamsDifferBySeedRoundAndClient) {
  std::set<std::uint64_t> words;
  std::set<std::vector<std::uint32_t>> cohorts;
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    Options options;
    options.seed = seed;
    options.clients_per_round = 50;
    for (const std::uint32_t round : {1u, 2u, 3u}) {
      cohorts.insert(sample_clients(options, options.clients_per_round, 100, round));
      for (const std::uint32_t client : {0u, 1u, 2u}) words.insert(batch_randomness(options, round, client).next64());
    }
  }
  EXPECT_EQ(words.size(), 27u);
  EXPECT_EQ(cohorts.size(), 9u);
}

}  // namespace
}  // namespace fewbits::federated
