#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "tests/engine/plans.h"
#include "tests/engine/support.h"

namespace fewbits::test {

// Lengths around the borders of lanes, words, blocks of random words and powers of two.
inline const std::vector<std::size_t> kSizes = {0,  1,  2,  3,    15,   16,   17,   31,    33,
                                                63, 64, 65, 1000, 4095, 4096, 4097, 65535, 65537};
inline const std::vector<std::size_t> kFewSizes = {0, 1, 2, 3, 17, 64, 65, 1000};

inline constexpr std::uint64_t kSeed = 42;
inline constexpr std::uint32_t kRound = 3;

// A law for every plan: registered stages by themselves, and combinations.
class EveryPlan : public ::testing::TestWithParam<Case> {
 protected:
  static Codec codec(std::size_t n) {
    return Codec::compile(GetParam().plan, GetParam().layout == LayoutKind::kNet ? net(n) : Layout(n));
  }

  // An update for the codec; each seed another one.
  static std::vector<float> update(const Codec& codec, std::uint64_t seed) { return normal(codec.elements(), seed); }

  // The plan's cohort, in which clients with neighbouring ids have neighbouring places.
  static Cohort cohort(std::uint64_t client) {
    const std::uint32_t size = cohort_size(GetParam().plan);
    return {static_cast<std::uint32_t>(client % size), size};
  }

  static Context context(std::uint64_t client, std::uint32_t round = kRound) { return {kSeed, round, client, cohort(client)}; }
  static RunContext run(std::uint64_t client) { return {kSeed, cohort(client)}; }
  static RoundContext round_context() { return {kSeed, kRound, cohort(0).size}; }
  static Contribution from(std::uint64_t client, double weight = 1) { return {client, weight, cohort(client).index}; }
};

inline std::string name_of(const ::testing::TestParamInfo<Case>& info) { return test_name(info.param, info.index); }

// What two ways to compute the same mean may differ by at coordinate i, v_c the updates as they are decoded, with
// shares p_c of the weight: each v_c, and the mean, is rounded to float32 once (2^-24 of Σ p_c|v_ci| each), and fewer
// than 2^7 operations in float64 keep norms, so that they add at most 2^7·2^-53 of the norms, taken as 2^-40 to be
// safe. 2^-148 for values that are denormal.
inline void expect_mean(std::span<const float> got, const std::vector<std::vector<float>>& updates,
                        const std::vector<double>& weights) {
  double total = 0;
  double norms = 0;
  for (std::size_t c = 0; c < updates.size(); ++c) {
    total += weights[c];
    norms = std::max(norms, norm(updates[c]));
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    double want = 0;
    double magnitude = 0;
    for (std::size_t c = 0; c < updates.size(); ++c) {
      want += weights[c] / total * static_cast<double>(updates[c][i]);
      magnitude += weights[c] / total * std::abs(static_cast<double>(updates[c][i]));
    }
    ASSERT_NEAR(got[i], want, 0x1p-23 * magnitude + 0x1p-40 * norms + 0x1p-148) << "coordinate " << i;
  }
}

}  // namespace fewbits::test
