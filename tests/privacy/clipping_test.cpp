#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "fewbits/error.h"
#include "fewbits/privacy/clipping.h"
#include "fewbits/privacy/private_sum.h"
#include "tests/privacy/seeded_source.h"

namespace fewbits::privacy {
namespace {

// Sparse, half-step, huge, zero, denormal and ordinary ones, of any length.
std::vector<float> adversarial(RandomReader& random, std::size_t elements) {
  std::vector<float> update(elements);
  const std::uint64_t kind = random.below(7);
  const double scale = std::exp2(static_cast<double>(random.below(60)) - 30);
  for (float& value : update) {
    const double u = 2 * random.uniform() - 1;
    switch (kind) {
      case 0: value = random.below(elements) == 0 ? static_cast<float>(scale) : 0.0f; break;
      case 1: value = static_cast<float>(std::ldexp(1.0, -25) * (u < 0 ? -1 : 1)); break;   // half a step of the grid
      case 2: value = static_cast<float>(3e38 * u); break;
      case 3: value = 0; break;
      case 4: value = static_cast<float>(1e-44 * u); break;
      case 5: value = static_cast<float>(scale); break;
      default: value = static_cast<float>(scale * u); break;
    }
  }
  return update;
}

TEST(Clipping, NoUpdateIsLongerAfterwards) {
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 11}));
  const Layout layout({{"a", {10, 9}}, {"b", {9}}, {"c", {1}}});
  for (const double norm : {1e-6, 1.0, 300.0}) {
    for (const Clipping& clipping : {Clipping::whole(layout.elements(), norm), Clipping::per_tensor(layout, norm)}) {
      for (int trial = 0; trial < 2000; ++trial) {
        std::vector<float> update = adversarial(random, layout.elements());
        const std::vector<float> before = update;
        const bool within = clipping.clip(update);
        EXPECT_LE(norm_of(update), norm);
        if (within) {
          EXPECT_EQ(update, before);
        }
        for (const ClipPart& part : clipping.parts()) {
          const auto values = std::span(update).subspan(part.begin, part.end - part.begin);
          const auto was = std::span(before).subspan(part.begin, part.end - part.begin);
          EXPECT_LE(norm_of(values), part.norm);
          if (norm_of(was) > part.norm) {
            EXPECT_GE(norm_of(values), part.norm * (1 - 1e-6));
          }
        }
      }
    }
  }
}

TEST(Clipping, KeepsTheDirection) {
  std::vector<float> update = {3, 0, -4};
  EXPECT_FALSE(Clipping::whole(3, 1).clip(update));
  EXPECT_NEAR(update[0], 0.6, 1e-6);
  EXPECT_EQ(update[1], 0);
  EXPECT_NEAR(update[2], -0.8, 1e-6);
}

TEST(Clipping, RefusesWhatHasNoNorm) {
  std::vector<float> update(3);
  EXPECT_THROW(Clipping::whole(4, 1).clip(update), Error);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    update[1] = bad;
    EXPECT_THROW(Clipping::whole(3, 1).clip(update), Error);
  }
  for (const double norm : {0.0, -1.0, 1e-21, 1e21, std::numeric_limits<double>::quiet_NaN()}) EXPECT_THROW(Clipping::whole(3, norm), Error) << norm;
}

// What one client adds, whatever it sends, is at most S, to the last bit: the accountant stands on it.
TEST(PrivateSum, OneClientMovesItByTheNormAtMost) {
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 12}));
  SeededSource source(1);
  for (int trial = 0; trial < 10'000; ++trial) {
    const std::size_t elements = 1 + random.below(40);
    const double norm = std::exp2(static_cast<double>(random.below(20)) - 10);
    PrivateSum sum(Clipping::whole(elements, norm), 0);
    sum.add(adversarial(random, elements), 1 - random.uniform() * 0.5);
    // The grid's multiples up to 2^24 are floats.
    EXPECT_LE(norm_of(sum.release(1, source)), norm * (1 + 1e-12));
  }
}

TEST(PrivateSum, WithoutNoiseIsTheSumOverTheDenominator) {
  SeededSource source(2);
  PrivateSum sum(Clipping::whole(3, 10), 0);
  sum.add(std::vector<float>{1, 2, -3});
  sum.add(std::vector<float>{4, 0, 1}, 0.5);
  const std::vector<float> mean = sum.release(5, source);
  EXPECT_NEAR(mean[0], 0.6, 1e-6);
  EXPECT_NEAR(mean[1], 0.4, 1e-6);
  EXPECT_NEAR(mean[2], -0.5, 1e-6);
}

TEST(PrivateSum, HasNoiseOfTheMultiplierTimesTheNorm) {
  for (const double multiplier : {0.01, 1.0, 16.0, 17.0, 256.0}) {
    SeededSource source(3);
    constexpr std::size_t kElements = 20'000;
    PrivateSum sum(Clipping::whole(kElements, 0.3), multiplier);   // nobody takes part: noise all the same
    double squares = 0;
    for (const float value : sum.release(7, source)) squares += static_cast<double>(value) * value;
    const double expected = multiplier * 0.3 / 7;
    EXPECT_NEAR(squares / kElements / (expected * expected), 1, 5 * std::sqrt(2.0 / kElements)) << multiplier;
  }
}

TEST(PrivateSum, IsReleasedOnce) {
  SeededSource source(4);
  PrivateSum sum(Clipping::whole(2, 1), 1);
  sum.release(1, source);
  EXPECT_THROW(sum.release(1, source), Error);
}

TEST(PrivateSum, ARefusedUpdateLeavesItAsItWas) {
  SeededSource source(5);
  PrivateSum sum(Clipping::whole(2, 100), 0);
  sum.add(std::vector<float>{1, 2});
  EXPECT_THROW(sum.add(std::vector<float>{1, 2, 3}), Error);
  EXPECT_THROW(sum.add(std::vector<float>{1, std::numeric_limits<float>::infinity()}), Error);
  for (const double weight : {0.0, -1.0, 1.5, std::numeric_limits<double>::quiet_NaN()}) EXPECT_THROW(sum.add(std::vector<float>{1, 2}, weight), Error);
  const std::vector<float> mean = sum.release(1, source);
  EXPECT_NEAR(mean[0], 1, 1e-4);
  EXPECT_NEAR(mean[1], 2, 1e-4);
}

}  // namespace
}  // namespace fewbits::privacy
