#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/codecs/dithered_cases.h"
#include "tests/codecs/dithered_frame.h"

// Errors of `trellis` and `dither` as they say them, and their distance from the limit. Seeds are fixed.
namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 2026;

// ---- errors ----------------------------------------------------------------------------------------------------------

struct Energies {
  double measured = 0, predicted = 0, standard_error = 0;  // means over rounds, and that of their difference
  double most = 0;                                         // predicted, of one round
};

Energies energies(const Coded& own, std::span<const float> x, unsigned rounds) {
  const Codec& codec = own.codec;
  Encoder encoder(codec);
  DitheredFrame frame(codec, own.known());
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
    for (const std::string scale : {"flat", "block:256", "separable", "profile"})
      for (const std::string wish : {"nmse=0.08", "bits=0.2"})
        for (const std::string input : {"lognormal", "outlier", "hot row"}) {
          const Case c{code + ",scale=" + scale + "," + wish, input, kD};
          const auto all = energies(coded(c), input_of(input, kD), 100);
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
    const auto all = energies({Codec::compile(plan, n), {}}, x, 8);
    // Eight rounds: Student's t for the chance of 5 standard errors of a normal mean.
    EXPECT_NEAR(all.measured, all.predicted, 13 * all.standard_error + 1e-4 * all.predicted) << plan;
    EXPECT_LT(all.standard_error, 2e-3 * all.predicted) << plan;
  }
}

// nmse= is known before coding: never more, and less only by what the grid of levels leaves, 2^(1/16).
TEST(WishedError, IsReachedOnHardInputs) {
  for (const std::string code : {"trellis:states=8", "trellis:states=64", "dither:correlated=0"})
    for (const std::string scale : {"flat", "block:256", "separable", "profile"})
      for (const double nmse : {1e-6, 0.3, 4.0}) {
        constexpr std::size_t kD = 400;
        const std::string plan = code + ",scale=" + scale + ",nmse=" + std::to_string(nmse);
        for (const std::string input : {"two spikes", "lognormal", "outlier", "hot row"}) {
          const Case c{plan, input, kD};
          const auto x = input_of(input, kD);
          const double wished = nmse * norm(x) * norm(x);
          const Coded own = coded(c);
          EXPECT_NEAR(*own.codec.describe().nmse_bound, nmse, 1e-12);
          const auto all = energies(own, x, 60);
          EXPECT_LE(all.most, wished * (1 + 1e-9)) << text(c);
          EXPECT_GE(all.predicted, wished / 1.0443) << text(c);
          EXPECT_LE(all.measured, wished + 5 * all.standard_error) << text(c);
          EXPECT_GE(all.measured, wished / 1.0443 * 0.95 - 5 * all.standard_error) << text(c);
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
        const auto all = energies({codec, {}}, x, 1000);
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
    const unsigned rounds = kBits[i] < 0.4 ? 5 : 1;
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
    for (const std::string scale : {"flat", "block:256", "separable", "profile"})
      for (const std::string wish : {"bits=16", "bits=0.0001", "nmse=1e-9", "nmse=1000"})
        for (const std::size_t d : {1, 2, 200})
          for (const std::string input : {"two spikes", "lognormal", "ones"}) {
            const Case c{code + ",scale=" + scale + "," + wish, input, d};
            const Coded own = coded(c);
            const Codec& codec = own.codec;
            const auto x = input_of(input, d);
            const auto bytes = codec.encode(x, {kSeed, 1, 1});
            DitheredFrame frame(codec, own.known());
            frame.open(bytes);
            const auto back = codec.decode(bytes, {kSeed});
            for (std::size_t i = 0; i < d; ++i) ASSERT_TRUE(x[i] == 0 || back[i] != 0 || frame.keep()[i] < 1) << text(c);
            if (wish == "bits=16" && d == 200) {
              EXPECT_LE(squared_distance(back, x), 1e-7 * norm(x) * norm(x)) << text(c);
              EXPECT_LE(bytes.size(), 2 * d + 60) << text(c);
            }
          }
}

// A client whose update the profile does not fit says so, and loses no more than the two bytes that say it.
TEST(AProfile, IsUsedWhereItServes) {
  constexpr std::size_t kD = 8192;
  for (const std::string wish : {"bits=1", "bits=0.1", "nmse=0.4", "nmse=12", "nmse=0.01"}) {
    const Coded flat = coded({"trellis:states=8,scale=flat," + wish, "", kD});
    const Coded own = coded({"trellis:states=8,scale=profile," + wish, "", kD});
    DitheredFrame frame(flat.codec), profiled(own.codec, own.known());
    const auto compare = [&](std::span<const float> x, bool fits) {
      const auto plain = flat.codec.encode(x, {kSeed, 1, 1});
      const auto bytes = own.codec.encode(x, {kSeed, 1, 1});
      frame.open(plain);
      profiled.open(bytes);
      EXPECT_EQ(profiled.flat(), !fits) << wish;
      const double rate = static_cast<double>(bytes.size()) / static_cast<double>(plain.size());
      const double error = profiled.energy(x) / frame.energy(x);
      EXPECT_LE(rate, fits ? 1.03 : 1.03 + 2.0 / static_cast<double>(plain.size())) << wish;
      EXPECT_LE(error, 1.05) << wish;
      if (fits) {
        EXPECT_LE(rate * error, 0.97) << wish;
      }
    };
    for (const std::string input : {"lognormal", "outlier", "two spikes", "ones"}) {
      SCOPED_TRACE(input);
      compare(input_of(input, kD), false);
    }
    compare(input_of("rows", kD), true);
  }
}

}  // namespace
}  // namespace fewbits::test
