#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/codecs/hard_inputs.h"

// EDEN (Vargaftik et al. 2022) and DRIVE: `lloyd` behind rotations.
namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 22;

Codec eden(unsigned bits, std::size_t n) {
  return Codec::compile("hadamard:seed=client+lloyd:bits=" + std::to_string(bits), n);
}

std::vector<float> round_trip(const Codec& codec, std::span<const float> x, const Context& keys) {
  return codec.decode(codec.encode(x, keys), {keys.seed});
}

// The mean of so many encodings.
std::vector<double> mean_of(const Codec& codec, std::span<const float> x, std::uint32_t rounds) {
  std::vector<double> mean(x.size());
  Encoder encoder(codec);
  for (std::uint32_t round = 0; round < rounds; ++round) {
    const auto back = codec.decode(encoder.encode(x, {kSeed, round, 1}), {kSeed});
    for (std::size_t i = 0; i < x.size(); ++i) mean[i] += static_cast<double>(back[i]) / rounds;
  }
  return mean;
}

double squared_distance_of(std::span<const double> mean, std::span<const float> x) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += std::pow(mean[i] - static_cast<double>(x[i]), 2);
  return sum;
}

// The distortion D of the Lloyd–Max quantizer of N(0, 1) gives D/(1 − D) (EDEN, section 3; figures
// measured with the authors' code at 1 to 4 bits).
constexpr double kPublished[] = {0.571, 0.133, 0.0358, 0.0096, 0.002511, 0.000645, 0.000164, 0.000041};

// Coordinates of a rotated vector are nearly normal whatever the vector was: the normal, the heavy-tailed and the
// constant one have the same error. Of 2^16 coordinates, the squared errors' mean has a relative standard error of under
// 2/√2^16 < 0.8 % a round (a cell's error is bounded by that of a tail cell), 8 rounds a third of that.
TEST(Eden, ErrsAsPublished) {
  const std::size_t n = long_tests() ? 1 << 20 : 1 << 16;
  for (unsigned bits = 1; bits <= 8; ++bits) {
    const Codec codec = eden(bits, n);
    for (const auto& [name, x] : hard_inputs(n)) {
      if (name != "Gaussian" && name != "all equal" && !(long_tests() && name == "alternating signs")) continue;
      double nmse = 0;
      constexpr std::uint32_t kRounds = 8;
      for (std::uint32_t round = 0; round < kRounds; ++round)
        nmse += squared_distance(round_trip(codec, x, {kSeed, round, 1}), x) / std::pow(norm(x), 2) / kRounds;
      EXPECT_NEAR(nmse, kPublished[bits - 1], 0.02 * kPublished[bits - 1]) << bits << " bits, " << name;
    }
  }
}

// Whatever the vector, the error over rotations is hardly more than that of a normal one: over 100 rotations of 64
// coordinates and more at most 1.3 times it (vectors of equal magnitudes, and of few large ones, turn into sums of few
// signs, whose grid may lie badly under the levels). Not so where a spike stands at the end of a length that is no power of two, for only one of the two
// rotations reaches it: at 1 bit its error is n/b − 1.
TEST(Eden, ErrsHardlyMoreOnHardInputs) {
  constexpr std::uint32_t kRounds = 100;
  const auto mean_nmse = [](const Codec& codec, std::span<const float> x) {
    double nmse = 0;
    for (std::uint32_t round = 0; round < kRounds; ++round)
      nmse += squared_distance(round_trip(codec, x, {kSeed, round, 1}), x) / std::pow(norm(x), 2) / kRounds;
    return nmse;
  };
  for (const std::size_t n : {64, 256, 1024})
    for (unsigned bits = 1; bits <= 8; ++bits)
      for (const auto& [name, x] : hard_inputs(n)) {
        if (name == "denormals" || name == "zeros") continue;  // their scale has few bits, or none
        EXPECT_LE(mean_nmse(eden(bits, n), x), 1.3 * kPublished[bits - 1]) << name << ", " << n << ", " << bits << " bits";
      }
  std::vector<float> spike(1000);
  spike.back() = 1;
  EXPECT_NEAR(mean_nmse(eden(1, 1000), spike), 1000.0 / 512 - 1, 1e-5);
}

// At any length: two overlapping rotations do as well as one.
TEST(Eden, NeedsNoPowerOfTwo) {
  for (const std::size_t n : {40'000, 65'537, 100'000}) {
    const auto x = normal(n, n);
    const Codec codec = eden(2, n);
    EXPECT_NEAR(squared_distance(round_trip(codec, x, {kSeed, 1, 1}), x) / std::pow(norm(x), 2), 0.1331, 0.02 * 0.1331);
  }
}

// Each level is the mean of a normal value in its cell, the cells ending halfway between levels: what Lloyd and Max ask
// for. Levels are read off decoded frames, whose scale stands at the front of the section; float32 has them to 2^-24, and
// the mean of a cell of width w is a difference of two densities over a mass of about w times the density.
TEST(Lloyd, LevelsAreTheMeansOfTheirCells) {
  for (unsigned bits = 1; bits <= 8; ++bits) {
    constexpr std::size_t kN = 1 << 16;
    const Codec codec = Codec::compile("lloyd:bits=" + std::to_string(bits), kN);
    auto x = normal(kN, 4);
    for (std::size_t i = 0; i < 1000; ++i) x[i] = static_cast<float>(i) * 0.01f - 5;  // to the last levels
    const auto frame = codec.encode(x, {kSeed, 0, 0});
    float scale = 0;
    std::memcpy(&scale, frame.data() + inspect(frame).header_bytes, sizeof scale);
    std::vector<double> levels;
    for (const float value : codec.decode(frame, {kSeed})) levels.push_back(static_cast<double>(value) / scale);
    std::ranges::sort(levels);
    const auto same = std::ranges::unique(levels);
    levels.erase(same.begin(), same.end());
    ASSERT_EQ(levels.size(), 1u << bits);
    const auto density = [](double t) { return std::exp(-t * t / 2) / std::sqrt(2 * std::numbers::pi); };
    const auto upper = [](double t) { return std::erfc(t / std::sqrt(2.0)) / 2; };
    for (std::size_t j = 0; j < levels.size(); ++j) {
      EXPECT_NEAR(levels[j], -levels[levels.size() - 1 - j], 1e-6);
      const double low = j == 0 ? -40 : (levels[j - 1] + levels[j]) / 2;
      const double high = j + 1 == levels.size() ? 40 : (levels[j] + levels[j + 1]) / 2;
      // Of the two tails the smaller loses nothing by subtraction.
      const double mass = low < 0 && high <= 0 ? upper(-high) - upper(-low) : upper(low) - upper(high);
      EXPECT_NEAR(levels[j], (density(low) - density(high)) / mass, 1e-4 * (high - low > 10 ? 1 : high - low))
          << bits << " bits, level " << j;
    }
  }
}

// The scale makes the decoded update right along the true one: ⟨x̂, x⟩ = ‖x‖², whatever x and the rotation, so that
// ‖x̂ − x‖² = ‖x̂‖² − ‖x‖². Only the scale is rounded, to 2^-24, and the decoded values.
TEST(Lloyd, IsRightAlongTheUpdate) {
  for (const std::size_t n : {1, 2, 3, 37, 256, 1000})
    for (unsigned bits = 1; bits <= 8; ++bits)
      for (const auto& [name, x] : hard_inputs(n)) {
        if (name == "denormals") continue;  // their scale has few bits
        const auto back = round_trip(Codec::compile("lloyd:bits=" + std::to_string(bits), n), x, {kSeed, 1, 1});
        double along = 0;
        for (std::size_t i = 0; i < n; ++i) along += static_cast<double>(back[i]) * static_cast<double>(x[i]);
        const double energy = std::pow(norm(x), 2);
        EXPECT_NEAR(along, energy, 1e-6 * norm(back) * norm(x)) << name << ", " << n << ", " << bits << " bits";
      }
}

// Behind a rotation of its own each client's error is nearly independent of the others': the error of the mean of n
// falls as 1/n on vectors that a rotation makes normal. The energy of 2^12 coordinates varies by √(2/2^12) = 2.2 %, five
// times that for 5 standard errors.
TEST(Eden, TheErrorOfTheMeanFallsAsOneOverTheNumberOfClients) {
  constexpr std::size_t kN = 1 << 12;
  for (const char* input : {"Gaussian", "all equal"})
    for (const unsigned bits : {1u, 2u}) {
      const auto inputs = hard_inputs(kN);
      const auto& x = std::ranges::find(inputs, input, [](const auto& named) { return named.first; })->second;
      const Codec codec = eden(bits, kN);
      Aggregator sum(codec, {kSeed, 1});
      std::uint64_t client = 0;
      for (const std::uint64_t clients : {1, 4, 16, 64, 256}) {
        for (; client < clients; ++client) sum.add(codec.encode(x, {kSeed, 1, client}), {client, 1});
        const double nmse = squared_distance(sum.mean(), x) / std::pow(norm(x), 2) * static_cast<double>(clients);
        EXPECT_NEAR(nmse / kPublished[bits - 1], 1, 5 * std::sqrt(2.0 / kN)) << input << ", " << clients << " clients";
      }
    }
}

// Where EDEN with a Hadamard rotation fails, and by how much. A rotated vector of two spikes, 1 and 0.4,
// takes four values ±1 ± 0.4 over √n whatever the signs are, half of its coordinates the larger and half the smaller
// magnitude: every encoding decodes to the same multiples of the two spikes. The error is bias alone: the mean of N
// encodings has the error of one, N times what an unbiased code's would be. At 1 bit the second spike is lost: (1.16, 0),
// an NMSE of (0.16² + 0.4²)/1.16 = 0.16; at 2 bits the levels 1.5104 and 0.4528 are taken, so that the spikes come back as
// (1.5104 + 0.4528) : (1.5104 − 0.4528), scaled to be right along the update, an NMSE of 0.0130.
TEST(Eden, IsBiasedOnTwoSpikes) {
  constexpr std::size_t kN = 512;
  constexpr std::uint32_t kRounds = 100;
  std::vector<float> x(kN);
  x[kN / 3] = 1;
  x[kN - 1] = 0.4f;
  for (const unsigned bits : {1u, 2u}) {
    const Codec codec = eden(bits, kN);
    const double large = 1.5104176 + 0.4527800, small = 1.5104176 - 0.4527800;
    const double scale = 1.16 / (large + 0.4 * small);
    const double first = bits == 1 ? 1.16 : scale * large;
    const double second = bits == 1 ? 0 : scale * small;
    const double nmse = (std::pow(first - 1, 2) + std::pow(second - 0.4, 2)) / 1.16;
    for (std::uint32_t round = 0; round < 10; ++round) {
      const auto back = round_trip(codec, x, {kSeed, round, 1});
      for (std::size_t i = 0; i < kN; ++i)
        EXPECT_NEAR(back[i], i == kN / 3 ? first : i == kN - 1 ? second : 0, 1e-5) << bits << " bits, " << i;
    }
    EXPECT_NEAR(nmse, bits == 1 ? 0.1600 : 0.0130, 5e-5);
    const double of_mean = squared_distance_of(mean_of(codec, x, kRounds), x) / 1.16;
    const double ratio = kRounds * of_mean / nmse;  // 1 for an unbiased code
    EXPECT_NEAR(ratio, kRounds, 0.01 * kRounds) << bits << " bits";
  }
}

// The same on a spike of 200 in normal noise, where the rest averages out: the error of the mean stops falling.
TEST(Eden, IsBiasedOnAnOutlier) {
  constexpr std::size_t kN = 4096;
  constexpr std::uint32_t kRounds = 200;
  auto x = normal(kN, 5);
  x[7] = 200;
  const Codec codec = eden(1, kN);
  const double one = squared_distance(round_trip(codec, x, {kSeed, 0, 1}), x);
  EXPECT_GT(kRounds * squared_distance_of(mean_of(codec, x, kRounds), x) / one, 0.9 * kRounds);
}

TEST(Lloyd, IsRefusedBehindARotationThatAllClientsShare) {
  struct {
    const char* plan;
    std::size_t position;
  } const refused[] = {{"hadamard+lloyd:bits=1", 9},
                       {" hadamard:seed=round + lloyd:bits=4+zstd", 23},
                       {"mask:keep=0.5,seed=client+hadamard+lloyd:bits=2", 35},
                       {"*.bias=f32; *=hadamard+mask:keep=0.5+lloyd:bits=2", 37},
                       {"train=mask:keep=0.5 | hadamard+lloyd:bits=2", 31}};
  for (const auto& [plan, position] : refused) {
    const auto error = error_of([&] { Codec::compile(plan, 100); });
    ASSERT_TRUE(error.has_value()) << plan;
    EXPECT_EQ(error->code(), Errc::kBadPlan);
    EXPECT_EQ(error->offset(), position) << plan << ": " << error->what();
    EXPECT_NE(std::string_view(error->what()).find("seed=client"), std::string_view::npos) << error->what();
  }
  for (const char* plan :
       {"hadamard:seed=client+lloyd:bits=1", "hadamard:seed=client+mask:keep=0.5+lloyd:bits=2",
        "hadamard+hadamard:seed=client+lloyd:bits=2", "hadamard:seed=client+hadamard+lloyd:bits=2"})
    EXPECT_EQ(Codec::compile(plan, 100).describe().unbiased, Unbiased::kOverRotations) << plan;
  // Without any rotation it is a deterministic code, and says so.
  for (const char* plan : {"lloyd:bits=1", "mask:keep=0.5+lloyd:bits=8"})
    EXPECT_EQ(Codec::compile(plan, 100).describe().unbiased, Unbiased::kNo) << plan;
}

// Zero has one encoding; a vector too large for the scale's float32 is refused.
TEST(Lloyd, CodesZerosAndRefusesWhatFloat32CannotScale) {
  for (const char* plan : {"lloyd:bits=1", "lloyd:bits=8", "hadamard:seed=client+lloyd:bits=3"}) {
    const Codec codec = Codec::compile(plan, 64);
    for (const float zero : {0.0f, -0.0f}) {
      const auto frame = codec.encode(std::vector<float>(64, zero), {kSeed, 0, 0});
      for (std::size_t i = inspect(frame).header_bytes; i < frame.size(); ++i) EXPECT_EQ(frame[i], std::byte{0});
      EXPECT_TRUE(same_bits(codec.decode(frame, {kSeed}), std::vector<float>(64)));
    }
  }
  // The scale of a lone spike is that over the last level, 0.7979.
  std::vector<float> x(64);
  x[5] = std::numeric_limits<float>::max();
  EXPECT_EQ(refusal([&] { Codec::compile("lloyd:bits=1", 64).encode(x, {kSeed, 0, 0}); }), Errc::kBadArgument);
  x[5] /= 2;
  EXPECT_EQ(refusal([&] { Codec::compile("lloyd:bits=1", 64).encode(x, {kSeed, 0, 0}); }), std::nullopt);
}

}  // namespace
}  // namespace fewbits::test
