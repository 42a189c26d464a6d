#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "tests/codecs/dithered_cases.h"
#include "tests/codecs/dithered_frame.h"
#include "tests/codecs/tails.h"
#include "tests/kernels/binomial.h"

// `trellis` and `dither` are never biased. Seeds are fixed, so the results are too. If a test fails, look at the
// coordinate; do not change the seed.
namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 2026;

class OnAverage : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr unsigned kRounds = 4000;
  static constexpr unsigned kMean = 1000;  // of them, the first

  struct Sums {
    double error = 0, variance = 0;
    double kept_error = 0, kept_variance = 0, largest = 0;  // of x̂ − x/p where it is kept
    double keep = 0;
    std::int64_t kept = 0;
    double mean_error = 0;
  };

  // The first steps of a path err up to 1.75 times as much as others (measured), since its first state is fixed.
  static double start_of_path(const DitheredFrame& frame, std::size_t step) {
    return step < 32 && frame.code().ends > 0 ? 1.75 : 1;
  }

  void add_round(const DitheredFrame& frame, std::span<const float> x, std::span<const float> back, unsigned round) {
    std::size_t step = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      Sums& sum = sums_[i];
      const double value = x[i];
      const double error = static_cast<double>(back[i]) - value;
      const double keep = frame.keep()[i];
      if (round < kMean) {
        sum.mean_error += error / kMean;
        mean_energy_ += error * error / kMean;
      }
      if (keep == 0) {
        ASSERT_EQ(x[i], 0.0f);
        ASSERT_EQ(back[i], 0.0f);
        continue;
      }
      const double noise = frame.noise()[i] * start_of_path(frame, step);
      sum.error += error;
      sum.variance += keep * noise + (1 / keep - 1) * value * value;
      sum.keep += keep / kRounds;
      if (back[i] == 0 && keep < 1) continue;
      ++step;
      ++sum.kept;
      sum.kept_error += static_cast<double>(back[i]) - value / keep;
      sum.kept_variance += noise;
      sum.largest = std::max(sum.largest, 2 * std::sqrt(frame.noise()[i] / frame.code().error));
    }
  }

  void check(std::span<const float> x) const {
    double first = 0, second = 0, energy_of_mean = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Sums& sum = sums_[i];
      SCOPED_TRACE("coordinate " + std::to_string(i) + " = " + std::to_string(x[i]) + ", kept " + std::to_string(sum.kept) +
                   " times, expected " + std::to_string(sum.keep * kRounds));
      // Decoded values are rounded to float32, by 2^-24 of themselves at most.
      const double rounding = 0x1p-24 * (std::abs(x[i]) * kRounds + std::sqrt(sum.variance * kRounds)) + kRounds * 0x1p-149;
      EXPECT_LE(std::abs(sum.kept_error), allowed(sum.kept_variance, sum.largest) + rounding);
      // Kept with chances that differ a little from round to round: no longer tails than with the mean of the chances
      // (Hoeffding 1956).
      if (sum.keep < 1 - 1e-6) {
        EXPECT_GE(binomial_tail(sum.kept, kRounds, sum.keep), 1e-9);
      }
      if (sum.keep * kRounds >= 100) {
        EXPECT_LE(std::abs(sum.error), 6 * std::sqrt(sum.variance) + rounding);
      }
      first += sum.variance;
      second += sum.variance * sum.variance;
      energy_of_mean += sum.mean_error * sum.mean_error;
    }
    const double carrying = first * first / second;  // coordinates that carry the error
    EXPECT_NEAR(kMean * energy_of_mean / mean_energy_, 1, 5 * std::sqrt(2 / carrying)) << carrying;
  }

  std::vector<Sums> sums_ = std::vector<Sums>(GetParam().d);
  double mean_energy_ = 0;
};

TEST_P(OnAverage, EveryCoordinateComesBack) {
  const Coded own = coded(GetParam());
  ASSERT_EQ(own.codec.describe().unbiased, Unbiased::kAlways);
  const std::vector<float> x = input_of(GetParam().input, GetParam().d);
  Encoder encoder(own.codec);
  DitheredFrame frame(own.codec, own.known());
  for (unsigned round = 0; round < kRounds && !HasFailure(); ++round) {
    const auto bytes = encoder.encode(x, {kSeed, round, round % 7});
    frame.open(bytes);
    add_round(frame, x, own.codec.decode(bytes, {kSeed}), round);
  }
  check(x);
}

// All inputs, scale models, codes and rates meet, though not all combinations of them.
std::vector<Case> cases() {
  constexpr std::size_t kCount = kInputs.size();
  const std::array<std::string, 3> codes = {"trellis:states=8", "trellis:states=64", "dither:correlated=0"};
  std::vector<Case> all;
  std::size_t turn = 0;
  for (const auto& [scale, steps] : {std::pair{"flat", Steps::kOwn}, {"block:256", Steps::kOwn}, {"separable", Steps::kOwn},
                                     {"profile", Steps::kOwn}, {"profile", Steps::kCommon}})
    for (const bool coarse : {false, true}) {
      const std::string model = std::string(",scale=") + scale;
      const std::string bits = model + (coarse ? ",bits=0.1" : ",bits=1");
      const std::string error = model + (coarse ? ",nmse=12" : ",nmse=0.4");
      const auto add = [&](const std::string& plan, std::size_t input, std::size_t d) {
        // A profile knows another update.
        const std::size_t learned = input + 1 + turn % (kCount - 1);
        all.push_back({plan, kInputs[input % kCount], d, steps, kInputs[learned % kCount]});
      };
      for (const std::string& code : codes) {
        const std::size_t input = turn + turn / kCount;
        add(code + (turn % 2 == 0 ? bits : error), input, 64);
        add(code + bits, input + 1, turn % 2 == 0 ? 1 : 3);
        if (long_tests()) {
          for (std::size_t each = 0; each < kCount; ++each) add(code + bits, each, 512);
          add(code + bits, input + 2, 1000);
          add(code + error, input + 3, 4097);
        }
        ++turn;
      }
      if (turn / 3 <= kCount) add(codes[turn / 3 % 3] + error, turn / 3, 512);
      add("trellis:states=256" + error, turn + 2, 24);
    }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Plans, OnAverage, ::testing::ValuesIn(cases()));

}  // namespace
}  // namespace fewbits::test
