#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "fewbits/profile.h"
#include "profile_state.h"
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
  std::string profile = "";  // the input that it is learned from, if any
  bool common_step = false;
};
std::string text(const Case& c) {
  return c.plan + ", " + c.input + ", " + std::to_string(c.d) + " coordinates" +
         (c.profile.empty() ? "" : ", profile of " + c.profile + (c.common_step ? " with a common step" : ""));
}
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
  const bool in_matrix = c.plan.find("separable") != std::string::npos || c.input == "hot row" || !c.profile.empty();
  return Codec::compile(c.plan, in_matrix ? matrix(c.d) : Layout(c.d));
}

// What the server has learned from other updates.
Profile profile_of(const Case& c, const Codec& plain) {
  if (c.profile.empty()) return Profile::flat(plain.layout());
  ProfileLearner learner(plain.layout());
  learner.learn(input_of(c.profile, c.d));
  return c.common_step ? learner.profile().with_common_step(plain) : learner.profile();
}

// Of a plan with one rule.
ProfileScales scales_of(const Profile& profile) {
  return {profile.state().tensors, profile.has_common_step() ? profile.state().levels[0] : std::nullopt};
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
  const Codec plain = codec_of(GetParam());
  const Profile profile = profile_of(GetParam(), plain);
  const Codec codec = plain.with_profile(profile);
  const ProfileScales scales = scales_of(profile);
  ASSERT_EQ(codec.describe().unbiased, Unbiased::kAlways);
  const std::vector<float> x = input_of(GetParam().input, GetParam().d);
  Encoder encoder(codec);
  DitheredFrame frame(codec, profile.is_flat() ? nullptr : &scales);
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

// Profiles that were learned from something else, with steps of the client's own and with common ones.
std::vector<Case> profiled_cases() {
  const std::array<std::string, 5> inputs = {"hot row", "outlier", "lognormal", "two spikes", "ones"};
  std::vector<Case> all;
  std::size_t turn = 0;
  for (const bool common : {false, true})
    for (const std::string bits : {"1", "0.1"})
      for (const std::string code : {"trellis:states=8", "trellis:states=64", "dither:correlated=0"}) {
        const std::string plan = code + ",scale=profile,bits=" + bits;
        const std::string& input = inputs[turn % inputs.size()];
        const std::string& other = inputs[(turn + 1 + turn / inputs.size()) % inputs.size()];
        all.push_back({plan, input, 64, other, common});
        all.push_back({plan, other, 5, input, common});
        if ((turn + turn / 3) % 6 == 0 || long_tests()) all.push_back({plan, other, 512, input, common});
        ++turn;
      }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Profiles, OnAverage, ::testing::ValuesIn(profiled_cases()));

// ---- errors ----------------------------------------------------------------------------------------------------------

struct Energies {
  double measured = 0, predicted = 0, standard_error = 0;  // means over rounds, and that of their difference
  double most = 0;                                         // predicted, of one round
};

Energies energies(const Codec& codec, std::span<const float> x, unsigned rounds) {
  Encoder encoder(codec);
  DitheredFrame frame(codec);
  Energies all;
  double squares = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    const auto bytes = encoder.encode(x, {kSeed, round, 1});
    frame.open(bytes);
    const double measured = squared_distance(codec.decode(bytes, {kSeed}), x);
    const double predicted = frame.energy(x);
    all.measured += measured / rounds;
    all.predicted += predicted / rounds;
    all.most = std::max(all.most, predicted);
    squares += (measured - predicted) * (measured - predicted) / rounds;
  }
  const double mean = all.measured - all.predicted;
  all.standard_error = std::sqrt(std::max(0.0, squares - mean * mean) / rounds);
  return all;
}

// A frame's settings say what its error is, whatever the update. The errors of the ends of paths, 1 % here, fall on
// classes that may be less noisy than the noisiest, as which they are reckoned; and where neighbours' steps differ, a
// weighted search errs less than the constants say, by up to 5 %.
TEST(ErrorEnergy, IsWhatTheSettingsSay) {
  constexpr std::size_t kD = 600;
  for (const std::string code : {"trellis:states=8", "trellis:states=64", "dither:correlated=0"})
    for (const std::string scale : {"flat", "block:256", "separable"})
      for (const std::string wish : {"bits=2", "bits=0.2"})
        for (const std::string input : {"lognormal", "outlier", "hot row"}) {
          const Case c{code + ",scale=" + scale + "," + wish, input, kD};
          const auto all = energies(codec_of(c), input_of(input, kD), 150);
          EXPECT_LE(all.measured, all.predicted + 5 * all.standard_error + 0.015 * all.predicted) << text(c);
          EXPECT_GE(all.measured, all.predicted - 5 * all.standard_error - 0.05 * all.predicted) << text(c);
        }
}

// Where the classes are alike, the prediction is right to the accuracy of the measured constants.
TEST(ErrorEnergy, IsThatOfTheCode) {
  const std::size_t n = long_tests() ? 1 << 20 : 1 << 17;
  const auto x = normal(n, 11);
  for (const std::string plan : {"dither:scale=flat,step=0.5", "trellis:states=8,scale=flat,step=0.5",
                                 "trellis:states=64,scale=flat,step=0.5", "trellis:states=256,scale=flat,step=0.5",
                                 "trellis:states=64,scale=flat,nmse=0.02", "trellis:states=64,scale=flat,nmse=3"}) {
    const auto all = energies(Codec::compile(plan, n), x, 8);
    // Eight rounds: Student's t for the chance of 5 standard errors of a normal mean.
    EXPECT_NEAR(all.measured, all.predicted, 13 * all.standard_error + 1e-4 * all.predicted) << plan;
    EXPECT_LT(all.standard_error, 2e-3 * all.predicted) << plan;
  }
}

// nmse= is known before coding: never more, and less only by what the grid of levels leaves, 2^(1/16).
TEST(WishedError, IsReachedOnHardInputs) {
  for (const std::string code : {"trellis:states=8", "trellis:states=64", "dither:correlated=0"})
    for (const std::string scale : {"flat", "block:256", "separable"})
      for (const double nmse : {1e-6, 0.3, 4.0}) {
        constexpr std::size_t kD = 400;
        const std::string plan = code + ",scale=" + scale + ",nmse=" + std::to_string(nmse);
        for (const std::string input : {"two spikes", "lognormal", "outlier", "hot row"}) {
          const Case c{plan, input, kD};
          const auto x = input_of(input, kD);
          const double wished = nmse * norm(x) * norm(x);
          const Codec codec = codec_of(c);
          EXPECT_NEAR(*codec.describe().nmse_bound, nmse, 1e-12);
          const auto all = energies(codec, x, 100);
          EXPECT_LE(all.most, wished * (1 + 1e-9)) << text(c);
          EXPECT_GE(all.predicted, wished / 1.0443) << text(c);
          EXPECT_LE(all.measured, wished + 5 * all.standard_error) << text(c);
          EXPECT_GE(all.measured, wished / 1.0443 * 0.98 - 5 * all.standard_error) << text(c);
        }
      }
}

// Paths of a few steps err more than long ones; the promise counts that in.
TEST(WishedError, IsReachedByAFewValues) {
  for (const std::string states : {"8", "64", "256"})
    for (const std::size_t d : {1, 2, 3, 5, 9, 17, 40}) {
      const auto x = normal(d, d);
      for (const std::string nmse : {"0.1", "2"}) {
        const Codec codec = Codec::compile("trellis:scale=flat,states=" + states + ",nmse=" + nmse, d);
        const auto all = energies(codec, x, 1500);
        EXPECT_LE(all.measured, std::stod(nmse) * norm(x) * norm(x) + 5 * all.standard_error)
            << states << " states, " << d << " values, " << nmse;
        EXPECT_GE(all.measured, std::stod(nmse) * norm(x) * norm(x) / 1.25 - 5 * all.standard_error);
      }
    }
}

// ---- rates -----------------------------------------------------------------------------------------------------------

struct Figures {
  double rate, measured, predicted;  // NMSE × (4^rate − 1), with the rate of all bytes of the frame
};

Figures figures(const std::string& plan, const Layout& layout, std::span<const float> x, unsigned rounds = 1) {
  const Codec codec = Codec::compile(plan, layout);
  DitheredFrame frame(codec);
  Figures mean{};
  for (unsigned round = 0; round < rounds; ++round) {
    const auto bytes = codec.encode(x, {kSeed, round, 1});
    frame.open(bytes);
    const double rate = 8 * static_cast<double>(bytes.size()) / static_cast<double>(x.size());
    const double over = (std::pow(4, rate) - 1) / std::pow(norm(x), 2) / rounds;
    mean.rate += rate / rounds;
    mean.measured += squared_distance(codec.decode(bytes, {kSeed}), x) * over;
    mean.predicted += frame.energy(x) * over;
  }
  return mean;
}

constexpr double kBits[] = {1, 2, 3, 4, 0.5, 0.1};
struct Bar {
  const char* states;
  double limits[6];  // 0: none
};
void PrintTo(const Bar& bar, std::ostream* out) { *out << bar.states << " states"; }  // NOLINT: GoogleTest's name

class NormalVector : public ::testing::TestWithParam<Bar> {
 protected:
  const unsigned log_ = long_tests() ? 20 : 18;
  const std::size_t n_ = std::size_t{1} << log_;
  const std::vector<float> x_ = normal(n_, 1);
};
INSTANTIATE_TEST_SUITE_P(States, NormalVector,
                         ::testing::Values(Bar{"8", {1.18, 1.14, 1.13, 1.13, 1.33, 0}},
                                           Bar{"64", {1.12, 1.09, 1.09, 1.09, 1.21, 0}},
                                           Bar{"256", {1.09, 1.07, 1.07, 1.07, 1.18, 1.52}}));

TEST_P(NormalVector, IsAsNearToTheLimitAsClaimed) {
  const std::size_t rows = std::size_t{1} << log_ / 2;
  const Layout matrix(std::vector<Tensor>{{"weight", {rows, n_ / rows}}});
  for (std::size_t i = 0; i < std::size(kBits); ++i) {
    if (GetParam().limits[i] == 0) continue;
    const std::string plan = "trellis:states=" + std::string(GetParam().states) + ",bits=" + std::to_string(kBits[i]);
    // Which values are kept is chance, 1 % of the figure at 0.1 bit.
    const unsigned rounds = kBits[i] < 0.4 ? 8 : 1;
    const Figures flat = figures(plan + ",scale=flat", Layout(n_), x_, rounds);
    EXPECT_LE(flat.measured, GetParam().limits[i]) << plan;
    EXPECT_NEAR(flat.rate, kBits[i], 0.03 * kBits[i]) << plan;
    // The default scale model.
    EXPECT_LE(figures(plan, matrix, x_, rounds).predicted, 1.02 * flat.predicted) << plan << ", a matrix";
    EXPECT_LE(figures(plan, Layout(n_), x_, rounds).predicted, 1.02 * flat.predicted) << plan << ", a vector";
  }
}

// Zamir and Feder's scalar quantizer: 0.254 bit from the limit at high rates, 4^0.254 = 1.42.
TEST(Dither, IsAQuarterOfABitFromTheLimit) {
  const auto x = normal(1 << 17, 2);
  for (const auto& [bits, limit] : {std::pair{2.0, 1.48}, std::pair{4.0, 1.45}, std::pair{8.0, 1.45}}) {
    const Figures flat = figures("dither:scale=flat,bits=" + std::to_string(bits), x.size(), x);
    EXPECT_NEAR(flat.rate, bits, 0.02 * bits);
    EXPECT_LE(flat.measured, limit);
    EXPECT_GE(flat.measured, 1.40);
  }
}

// Every byte counts where a whole model goes into a few hundred.
TEST(AHundredthOfABit, IsAFrameOfTwoHundredBytes) {
  const Layout layout({{"a", {200, 784}}, {"b", {200}}, {"c", {10, 200}}, {"d", {10}}});
  const auto x = normal(layout.elements(), 3);
  for (const std::string states : {"8", "64", "256"})
    for (std::uint32_t round = 0; round < 5; ++round) {
      const Codec codec = Codec::compile("trellis:scale=flat,bits=0.01,states=" + states, layout);
      EXPECT_LE(codec.encode(x, {kSeed, round, 1}).size(), 230u) << states;
    }
}

// Wishes that a frame's own bytes use up, and more bits than there is anything to say: a frame all the same, of sensible size.
TEST(ExtremeWishes, GiveFramesThatDecode) {
  for (const std::string code : {"trellis:states=64", "dither:correlated=0"})
    for (const std::string scale : {"flat", "block:256", "separable"})
      for (const std::string wish : {"bits=16", "bits=0.0001", "nmse=1e-9", "nmse=1000"})
        for (const std::size_t d : {1, 2, 200})
          for (const std::string input : {"two spikes", "lognormal", "ones"}) {
            const Case c{code + ",scale=" + scale + "," + wish, input, d};
            const Codec codec = codec_of(c);
            const auto x = input_of(input, d);
            const auto bytes = codec.encode(x, {kSeed, 1, 1});
            DitheredFrame frame(codec);
            frame.open(bytes);
            const auto back = codec.decode(bytes, {kSeed});
            for (std::size_t i = 0; i < d; ++i) ASSERT_TRUE(x[i] == 0 || back[i] != 0 || frame.keep()[i] < 1) << text(c);
            if (wish == "bits=16" && d == 200) {
              EXPECT_LE(squared_distance(back, x), 1e-7 * norm(x) * norm(x)) << text(c);
              EXPECT_LE(bytes.size(), 2 * d + 60) << text(c);
            }
          }
}

}  // namespace
}  // namespace fewbits::test
