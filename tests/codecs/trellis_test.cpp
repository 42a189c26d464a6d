#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "tests/codecs/dithered_frame.h"
#include "tests/engine/support.h"
#include "tests/kernels/binomial.h"

// `trellis` and `dither`: never biased, as far from the limit as they say. Seeds are fixed, so the results are too. If a
// test fails, look at the coordinate; do not change the seed.
namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 2026;

Layout matrix(std::size_t n) {
  const std::size_t rows = n >= 64 ? 16 : 1;
  return Layout(std::vector<Tensor>{{"weight", {rows, n / rows}}, {"bias", {n % rows}}});
}

struct Case {
  std::string plan;
  std::string input;
  std::size_t d;
};
std::string text(const Case& c) { return c.plan + ", " + c.input + ", " + std::to_string(c.d) + " coordinates"; }
void PrintTo(const Case& c, std::ostream* out) { *out << text(c); }  // NOLINT: GoogleTest's name

std::vector<float> input_of(const std::string& name, std::size_t d) {
  RandomReader random = reader(d + name.size());
  std::vector<float> x(d);
  for (std::size_t i = 0; i < d; ++i) {
    const double z = draw_normal(random);
    const bool up = random.next() % 2 == 0;
    if (name == "ones") x[i] = 1;
    if (name == "alternating") x[i] = i % 2 == 0 ? 1.0f : -1.0f;
    if (name == "outlier") x[i] = static_cast<float>(z);
    if (name == "lognormal") x[i] = static_cast<float>(std::exp(3 * z) * (up ? 1 : -1));
    if (name == "hot row") x[i] = static_cast<float>(z * (i / (d / 16 + 1) == 3 ? 100 : 1));
  }
  if (name == "two spikes") {
    x[d / 3] = 1;
    if (d > 1) x[d - 1] = 0.4f;
  }
  if (name == "outlier") x[d / 2] = 200;
  return x;
}

Codec codec_of(const Case& c) {
  // In a matrix where the scale model sees one; `block` must not depend on it.
  return Codec::compile(c.plan, c.plan.find("separable") != std::string::npos || c.input == "hot row" ? matrix(c.d) : Layout(c.d));
}

// How far a sum of independent errors may lie from zero: 6 standard errors, where it is a normal one. Where the largest
// term is over a tenth of the standard error, Bernstein's bound for a chance of 1e-9.
double allowed(double variance, double largest) {
  if (variance >= 100 * largest * largest) return 6 * std::sqrt(variance);
  const double log_term = std::log(2e9);
  const double linear = largest * log_term / 3;
  return linear + std::sqrt(linear * linear + 2 * variance * log_term);
}

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
      if (back[i] == 0) continue;
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
      EXPECT_GE(binomial_tail(sum.kept, kRounds, std::min(1.0, sum.keep)), 1e-9);
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
  const Codec codec = codec_of(GetParam());
  ASSERT_EQ(codec.describe().unbiased, Unbiased::kAlways);
  const std::vector<float> x = input_of(GetParam().input, GetParam().d);
  Encoder encoder(codec);
  DitheredFrame frame(codec);
  for (unsigned round = 0; round < kRounds && !HasFailure(); ++round) {
    const auto bytes = encoder.encode(x, {kSeed, round, round % 7});
    frame.open(bytes);
    add_round(frame, x, codec.decode(bytes, {kSeed}), round);
  }
  check(x);
}

// All inputs, scale models, codes and rates meet, though not all combinations of them.
std::vector<Case> cases() {
  const std::array<std::string, 6> inputs = {"two spikes", "outlier", "lognormal", "ones", "alternating", "hot row"};
  const std::array<std::size_t, 6> large = {1, 5, 6, 10, 14, 15};  // with 512 coordinates; each of the inputs once
  std::vector<Case> all;
  std::size_t turn = 0;
  for (const std::string scale : {"flat", "block:256", "separable"})
    for (const std::string bits : {"1", "0.1"})
      for (const std::string code : {"trellis:states=8", "trellis:states=64", "dither:correlated=0"}) {
        const std::string plan = code + ",scale=" + scale + ",bits=" + bits;
        const auto input = [&](std::size_t shift) { return inputs[(turn + turn / 6 + shift) % 6]; };
        all.push_back({plan, input(0), 64});
        all.push_back({plan, input(1), 3});
        all.push_back({plan, input(2), 1});
        if (turn % 3 == 0) all.push_back({"trellis:states=256,scale=" + scale + ",bits=" + bits, input(3), 24});
        if (const auto at = std::ranges::find(large, turn); at != large.end())
          all.push_back({code + ",scale=" + scale + (turn % 2 == 0 ? ",bits=" + bits : bits == "1" ? ",nmse=0.4" : ",nmse=12"),
                         inputs[static_cast<std::size_t>(at - large.begin())], 512});
        if (long_tests()) {
          for (const std::string& each : inputs) all.push_back({plan, each, 512});
          all.push_back({plan, input(4), 1000});
          all.push_back({plan, input(5), 4097});
        }
        ++turn;
      }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Plans, OnAverage, ::testing::ValuesIn(cases()));

}  // namespace
}  // namespace fewbits::test
