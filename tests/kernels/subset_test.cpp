#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "kernels/kernels.h"
#include "tests/engine/support.h"
#include "tests/kernels/binomial.h"
#include "tests/kernels/format_model.h"

namespace fewbits {
namespace {

std::vector<std::uint32_t> draw(std::uint64_t key, std::size_t k, std::size_t n) {
  // Scratch is handed over dirty: the kernel must not count on zeros.
  std::vector<std::uint64_t> scratch(kernels::subset_scratch(n), ~0ull);
  std::vector<std::uint32_t> chosen(k, ~0u);
  kernels::subset(key, n, scratch, chosen);
  return chosen;
}

TEST(Subset, HasTheExactCountDistinctAndRisingAndIsTheOneOfTheFormat) {
  for (const std::size_t n : {1, 2, 3, 15, 16, 17, 63, 64, 65, 128, 1000})
    for (const std::size_t k : {std::size_t{0}, std::size_t{1}, n / 3, n / 2, n / 2 + 1, n - 1, n}) {
      if (k > n) continue;
      const std::uint64_t key = stream_key({n, k});
      const auto chosen = draw(key, k, n);
      for (std::size_t i = 0; i < k; ++i) {
        ASSERT_LT(chosen[i], n);
        ASSERT_TRUE(i == 0 || chosen[i - 1] < chosen[i]) << k << " of " << n;
      }
      format_model::Stream model(key);
      ASSERT_EQ(chosen, format_model::subset(model, k, n)) << k << " of " << n;
    }
}

// Every index is in with probability k/n. Over 4,000 keys its count is binomial; an exact tail under 1e-9 fails. Counts
// of 7 subset sizes of 64 indices and 5 of 65: under 800 on two sides, so a fair draw fails with probability under
// 2e-6.
TEST(Subset, IncludesEveryIndexEquallyOften) {
  constexpr std::int64_t kDraws = 4000;
  for (const auto& [k, n] : std::vector<std::pair<std::size_t, std::size_t>>{{1, 64},
                                                                             {2, 64},
                                                                             {13, 64},
                                                                             {32, 64},
                                                                             {33, 64},
                                                                             {50, 64},
                                                                             {63, 64},
                                                                             {1, 65},
                                                                             {32, 65},
                                                                             {33, 65},
                                                                             {64, 65},
                                                                             {5, 65}}) {
    std::vector<std::int64_t> counts(n);
    for (std::uint64_t round = 0; round < kDraws; ++round)
      for (const std::uint32_t index : draw(stream_key({round, k, n}), k, n)) ++counts[index];
    const double share = static_cast<double>(k) / static_cast<double>(n);
    for (std::size_t i = 0; i < n; ++i)
      EXPECT_GE(test::binomial_tail(counts[i], kDraws, share), 1e-9)
          << k << " of " << n << ": index " << i << " in " << counts[i] << " of " << kDraws;
  }
}

// Uniform over whole subsets, so over pairs too: all C(6, k) subsets of 6, each by its exact binomial tail. 62 counts,
// two sides: a fair draw fails with probability under 2e-7.
TEST(Subset, EverySubsetOfSixIsEquallyLikely) {
  constexpr std::int64_t kDraws = 20'000;
  const double subsets[] = {1, 6, 15, 20, 15, 6, 1};
  for (std::size_t k = 1; k < 6; ++k) {
    std::map<std::vector<std::uint32_t>, std::int64_t> counts;
    for (std::uint64_t round = 0; round < kDraws; ++round) ++counts[draw(stream_key({round, k}), k, 6)];
    EXPECT_EQ(static_cast<double>(counts.size()), subsets[k]);
    for (const auto& [chosen, count] : counts)
      EXPECT_GE(test::binomial_tail(count, kDraws, 1 / subsets[k]), 1e-9) << k << " of 6: " << count;
  }
}

// Pairs in a longer vector: neighbours, words' borders, and the ends: k(k−1)/(n(n−1)).
TEST(Subset, IncludesPairsAsOftenAsDrawsWithoutReplacement) {
  constexpr std::int64_t kDraws = 20'000;
  constexpr std::size_t kN = 130, kK = 40;
  const std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs = {{0, 1}, {63, 64}, {127, 128}, {0, 129}, {31, 95}};
  std::vector<std::int64_t> counts(pairs.size());
  for (std::uint64_t round = 0; round < kDraws; ++round) {
    const auto chosen = draw(stream_key({round, 5}), kK, kN);
    for (std::size_t p = 0; p < pairs.size(); ++p)
      counts[p] +=
          std::ranges::binary_search(chosen, pairs[p].first) && std::ranges::binary_search(chosen, pairs[p].second);
  }
  const double share = static_cast<double>(kK * (kK - 1)) / static_cast<double>(kN * (kN - 1));
  for (const std::int64_t count : counts) EXPECT_GE(test::binomial_tail(count, kDraws, share), 1e-9) << count;
}

}  // namespace
}  // namespace fewbits
