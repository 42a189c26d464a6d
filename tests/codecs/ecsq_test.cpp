#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "tests/codecs/hard_inputs.h"

// Entropy-coded EDEN: `ecsq` behind rotations.
namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 24;

std::vector<float> round_trip(const std::string& plan, std::span<const float> x, std::uint32_t round = 1) {
  const Codec codec = Codec::compile(plan + "+pack", x.size());
  return codec.decode(codec.encode(x, {kSeed, round, 1}), {kSeed});
}

std::string ecsq(double bits) { return "ecsq:bits=" + std::to_string(bits); }

// Figures of the authors' code at 1 to 4 bits, and of numerical integration.
TEST(Ecsq, ErrsAsPublishedBehindARotation) {
  const std::size_t n = long_tests() ? 1 << 20 : 1 << 16;
  const std::pair<double, double> figures[] = {{0.25, 3.749}, {0.5, 1.613}, {1, 0.5345}, {1.5, 0.2163},
                                               {2, 0.0976},   {3, 0.02274}, {4, 0.00559}};
  for (const auto& [bits, figure] : figures)
    for (const auto& [name, x] : hard_inputs(n)) {
      if (name != "Gaussian" && name != "all equal") continue;
      double nmse = 0;
      // Few values are not zero at a quarter of a bit: their number and size vary by 1 % a round.
      constexpr std::uint32_t kRounds = 8;
      for (std::uint32_t round = 0; round < kRounds; ++round)
        nmse += squared_distance(round_trip("hadamard:seed=client+" + ecsq(bits), x, round), x) / kRounds;
      EXPECT_NEAR(nmse / std::pow(norm(x), 2), figure, 0.02 * figure) << bits << " bits, " << name;
    }
}

// The symbols' entropy is what is asked, between the table's entries too, within 2 % and 0.003 bit; and the sampling error
// of 2^18 values, five times √(Var log p / n): at most 5·√(2/2^18) < 0.014, and 5·√(H·7/2^18) < 0.026·√H at low rates H,
// where the few symbols that are not zero have some 7 bits each.
TEST(Ecsq, SymbolsHaveTheEntropyThatIsAsked) {
  const auto x = normal(1 << 18, 3);
  for (const double bits : {0.015625, 0.02, 0.05, 0.1, 0.3, 0.7, 1.0, 1.3, 2.2, 3.05, 4.0, 6.03, 8.0}) {
    std::map<float, double> counts;
    for (const float value : round_trip(ecsq(bits), x)) ++counts[value];
    double entropy = 0;
    const auto n = static_cast<double>(x.size());
    for (const auto& [value, count] : counts) entropy -= count / n * std::log2(count / n);
    // A histogram of K values over n draws is short of the entropy by about K/(2n ln 2).
    entropy += static_cast<double>(counts.size()) / (2 * n * std::log(2.0));
    EXPECT_NEAR(entropy, bits, std::min(0.003, 0.02 * bits) + std::min(0.014, 0.026 * std::sqrt(bits))) << bits;
  }
}

// As for `lloyd`: ⟨x̂, x⟩ = ‖x‖² whatever x, so that nothing of the update's direction is lost on average over rotations.
TEST(Ecsq, IsRightAlongTheUpdate) {
  for (const std::size_t n : {1, 2, 3, 37, 256, 5000})
    for (const double bits : {0.015625, 0.5, 2.0, 8.0})
      for (const auto& [name, x] : hard_inputs(n)) {
        if (name == "denormals") continue;  // their scale has few bits
        const auto back = round_trip(ecsq(bits), x);
        double along = 0;
        for (std::size_t i = 0; i < n; ++i) along += static_cast<double>(back[i]) * static_cast<double>(x[i]);
        EXPECT_NEAR(along, std::pow(norm(x), 2), 1e-6 * norm(back) * norm(x)) << name << ", " << n << ", " << bits;
        const auto growth = Codec::compile(ecsq(bits), n).describe().norm_growth;
        EXPECT_LE(norm(back), *growth * norm(x) * (1 + 1e-6)) << name << ", " << n << ", " << bits;
      }
}

// The mean of N encodings of a vector that rotations make normal errs N times less.
TEST(Ecsq, TheErrorOfTheMeanFallsAsOneOverN) {
  constexpr std::size_t kN = 1 << 12;
  constexpr std::uint32_t kRounds = 200;
  for (const char* input : {"Gaussian", "all equal"})
    for (const auto& [name, x] : hard_inputs(kN)) {
      if (name != input) continue;
      std::vector<double> mean(kN);
      for (std::uint32_t round = 0; round < kRounds; ++round) {
        const auto back = round_trip("hadamard:seed=client+ecsq:bits=1", x, round);
        for (std::size_t i = 0; i < kN; ++i) mean[i] += static_cast<double>(back[i]) / kRounds;
      }
      double error = 0;
      for (std::size_t i = 0; i < kN; ++i) error += std::pow(mean[i] - static_cast<double>(x[i]), 2);
      EXPECT_NEAR(kRounds * error / std::pow(norm(x), 2) / 0.5345, 1, 5 * std::sqrt(2.0 / kN)) << name;
    }
}

// Two spikes: as with EDEN every rotation gives the same two magnitudes, 1.3 and 0.557 deviations. At 1 bit, of steps of
// 2.42 deviations, the larger ones become a step and the others zero: (1.16/1.4, 1.16/1.4), the same in every round.
TEST(Ecsq, IsBiasedOnTwoSpikes) {
  constexpr std::size_t kN = 512;
  std::vector<float> x(kN);
  x[10] = 1;
  x[11] = 0.4f;
  for (std::uint32_t round = 0; round < 20; ++round) {
    const auto back = round_trip("hadamard:seed=client+ecsq:bits=1", x, round);
    for (std::size_t i = 0; i < kN; ++i) EXPECT_NEAR(back[i], i == 10 || i == 11 ? 1.16 / 1.4 : 0, 1e-5) << i;
  }
}

// Where no value reaches half a step, the largest still count.
TEST(Ecsq, NeverLosesAWholeUpdate) {
  EXPECT_EQ(round_trip("ecsq:bits=0.1", std::vector<float>{3.0f}), std::vector<float>{3.0f});
  const auto back = round_trip("ecsq:bits=0.1", std::vector<float>{-1, 1, 1, -1, 0.5f});
  const float kept = 4.25f / 4;
  EXPECT_EQ(back, (std::vector<float>{-kept, kept, kept, -kept, 0}));
}

// A spike is cut off at the last level, and the scale makes up for it.
TEST(Ecsq, CutsOffWhatIsBeyondItsLastLevel) {
  std::vector<float> x(1 << 16, 0.01f);
  x[9] = 1000;
  const auto back = round_trip("ecsq:bits=8", x);
  EXPECT_NEAR(back[9], 1000, 1);
}

TEST(Ecsq, FramesOfAnyBitsAreReadAlike) {
  const auto x = normal(100, 2);
  const Codec fine = Codec::compile("ecsq:bits=4", 100), coarse = Codec::compile("ecsq:bits=1", 100);
  EXPECT_EQ(fine.fingerprint(), coarse.fingerprint());
  EXPECT_TRUE(same_bits(coarse.decode(fine.encode(x, {}), {}), fine.decode(fine.encode(x, {}), {})));
}

TEST(Ecsq, IsRefusedBehindARotationThatAllClientsShare) {
  EXPECT_EQ(refusal([] { Codec::compile("hadamard+ecsq:bits=1", 10); }), Errc::kBadPlan);
  EXPECT_EQ(Codec::compile("ecsq:bits=1", 10).describe().unbiased, Unbiased::kNo);
  EXPECT_EQ(Codec::compile("hadamard:seed=client+ecsq:bits=1", 10).describe().unbiased, Unbiased::kOverRotations);
}

TEST(Ecsq, CodesZerosAndRefusesWhatFloat32CannotScale) {
  EXPECT_TRUE(same_bits(round_trip("ecsq:bits=1", std::vector<float>{0, -0.0f}), std::vector<float>(2)));
  const float most = std::numeric_limits<float>::max();
  EXPECT_EQ(round_trip("ecsq:bits=1", std::vector<float>(4, most)), std::vector<float>(4, most));
  // The first value alone counts, and stands for the energy of all.
  std::vector<float> x(100, 0.74f);
  x[0] = 1;
  const auto back = round_trip("ecsq:bits=0.1", x);
  EXPECT_NEAR(back[0], 1 + 99 * 0.74 * 0.74, 1e-4);
  for (float& value : x) value *= most;
  EXPECT_EQ(refusal([&] { Codec::compile("ecsq:bits=0.1", 100).encode(x, {}); }), Errc::kBadArgument);
}

}  // namespace
}  // namespace fewbits::test
