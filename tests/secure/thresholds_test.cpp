#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "secure/graph.h"
#include "tests/secure/round.h"

// The defaults of Settings, computed again: a cohort of n with a circulant graph in random order, so that who is a client's
// neighbour is a hypergeometric draw, and a union bound over the clients (Bell et al. 2020, §4).
namespace fewbits::secure {
namespace {

double log_choose(double n, double k) { return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1); }

// P(at least `least` of `drawn` from `population` are among its `marked`).
double tail(std::size_t population, std::size_t marked, std::size_t drawn, std::size_t least) {
  double sum = 0;
  for (std::size_t i = least; i <= std::min(marked, drawn); ++i) {
    if (drawn - i > population - marked) continue;
    const auto [n, m, k, x] = std::tuple(static_cast<double>(population), static_cast<double>(marked), static_cast<double>(drawn),
                                         static_cast<double>(i));
    sum += std::exp(log_choose(m, x) + log_choose(n - m, k - x) - log_choose(n, k));
  }
  return sum;
}

struct Risk {
  double read;  // someone's two secrets are opened by two views, with the corrupt among its neighbours: 2 threshold ≤ neighbours
                // + corrupt
  double lost;  // someone keeps fewer neighbours than the threshold
};

Risk risk(std::size_t n, std::size_t neighbours, std::size_t threshold) {
  const std::size_t corrupt = n / 20, dropped = n / 20;
  return {static_cast<double>(n) * tail(n - 1, corrupt, neighbours, 2 * threshold - neighbours),
          static_cast<double>(n) * tail(n - 1, dropped, neighbours, neighbours - threshold + 1)};
}

const double kRead = std::ldexp(1, -40), kLost = std::ldexp(1, -20);

bool holds(std::size_t n, std::size_t neighbours, std::size_t threshold) {
  const Risk found = risk(n, neighbours, threshold);
  return found.read <= kRead && found.lost <= kLost;
}

TEST(Thresholds, TheTableHolds) {
  struct Row {
    std::size_t clients, neighbours, threshold;
  };
  for (const Row row : {Row{100, 30, 18}, {1'000, 52, 37}, {10'000, 62, 44}, {100'000, 68, 48}}) {
    EXPECT_TRUE(holds(row.clients, row.neighbours, row.threshold)) << row.clients;
    if (row.clients == 100) continue;
    // With two neighbours fewer no threshold does; and with as many no other does.
    for (std::size_t threshold = row.neighbours / 2; threshold <= row.neighbours; ++threshold) {
      EXPECT_FALSE(threshold <= row.neighbours - 2 && holds(row.clients, row.neighbours - 2, threshold)) << row.clients;
      EXPECT_EQ(holds(row.clients, row.neighbours, threshold), threshold == row.threshold) << row.clients << ' ' << threshold;
    }
    const Settings settings = test::small(row.clients).resolved();
    EXPECT_EQ(settings.neighbours, row.neighbours);
    EXPECT_EQ(settings.threshold, row.threshold);
  }
}

TEST(Thresholds, DefaultsHoldForEverySizeOfACohort) {
  for (const std::size_t n : {101u, 150u, 200u, 500u, 999u, 1'001u, 2'000u, 5'000u, 9'999u, 10'001u, 30'000u, 99'999u}) {
    const Settings settings = test::small(n).resolved();
    EXPECT_TRUE(holds(n, settings.neighbours, settings.threshold)) << n;
  }
  for (std::size_t n = 3; n <= 100; ++n) {
    const Settings settings = test::small(n).resolved();
    EXPECT_EQ(settings.neighbours, n - 1);
    EXPECT_EQ(settings.threshold, 2 * (n - 1) / 3 + 1);
    // Two views need so many corrupt neighbours: a third.
    EXPECT_GE(3 * (2 * settings.threshold - settings.neighbours), n - 1);
  }
  EXPECT_EQ(test::small(100).resolved().threshold, 67u);
}

TEST(Graph, IsSymmetricWithEqualDegrees) {
  test::SeededRandom random(3);
  for (const auto& [clients, neighbours] : {std::pair(10, 9), {10, 12}, {10, 4}, {101, 52}, {1000, 52}}) {
    const auto graph = drawn_graph(static_cast<std::size_t>(clients), static_cast<std::size_t>(neighbours), random);
    for (std::size_t u = 0; u < graph.size(); ++u) {
      ASSERT_EQ(graph[u].size(), static_cast<std::size_t>(std::min(neighbours, clients - 1)));
      ASSERT_TRUE(std::ranges::is_sorted(graph[u]));
      ASSERT_EQ(std::ranges::adjacent_find(graph[u]), graph[u].end());
      for (const std::size_t v : graph[u]) {
        ASSERT_NE(u, v);
        ASSERT_TRUE(std::ranges::binary_search(graph[v], u));
      }
    }
  }
}

TEST(Graph, EveryEdgeIsAsLikelyAsAnother) {
  test::SeededRandom random(5);
  constexpr std::size_t kClients = 12, kDrawn = 4000;
  std::vector<std::size_t> counts(kClients * kClients);
  for (std::size_t i = 0; i < kDrawn; ++i) {
    const auto graph = drawn_graph(kClients, 4, random);
    for (std::size_t u = 0; u < kClients; ++u)
      for (const std::size_t v : graph[u]) ++counts[u * kClients + v];
  }
  const double chance = 4.0 / (kClients - 1), deviation = std::sqrt(kDrawn * chance * (1 - chance));
  for (std::size_t u = 0; u < kClients; ++u)
    for (std::size_t v = 0; v < kClients; ++v) {
      const double wanted = u == v ? 0 : kDrawn * chance;
      EXPECT_LE(std::abs(static_cast<double>(counts[u * kClients + v]) - wanted), 5 * deviation);
    }
}

}  // namespace
}  // namespace fewbits::secure
