#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/codecs/hard_inputs.h"

// Fixed-rate trellis-coded quantization (Marcellin and Fischer 1990), alone and behind rotations.
namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 90;
constexpr unsigned kStates[] = {8, 64, 256};

std::string plan_of(unsigned bits, unsigned states) {
  return "tcq:bits=" + std::to_string(bits) + ",states=" + std::to_string(states);
}

std::vector<float> round_trip(const Codec& codec, std::span<const float> x, const Context& keys) {
  return codec.decode(codec.encode(x, keys), {keys.seed});
}

double nmse_of(const Codec& codec, std::span<const float> x, const Context& keys) {
  return squared_distance(round_trip(codec, x, keys), x) / std::pow(norm(x), 2);
}

// Figures of an independent implementation with 8 and 256 states and levels of its own; those with 64 are the training
// program's, of other values. Of 2^16 values the mean squared error has a relative standard error of under 1 % (as in
// lloyd_test.cpp), 8 rounds a third of that. At 4 bits the levels here err 3 % less.
TEST(Tcq, ErrsAsMeasuredElsewhere) {
  constexpr double kMeasured[][4] = {{0.4337, 0.0929, 0.02386, 0.00664},
                                      {0.4031, 0.0882, 0.02276, 0.00610},
                                      {0.3867, 0.0858, 0.02213, 0.00619}};
  constexpr std::uint32_t kRounds = 8;
  const std::size_t n = 1 << 16;
  const auto x = normal(n, 1);
  for (std::size_t s = 0; s < 3; ++s)
    for (unsigned bits = 1; bits <= 4; ++bits) {
      const Codec codec = Codec::compile("hadamard:seed=client+" + plan_of(bits, kStates[s]), n);
      double nmse = 0;
      for (std::uint32_t round = 0; round < kRounds; ++round) nmse += nmse_of(codec, x, {kSeed, round, 1}) / kRounds;
      RecordProperty(plan_of(bits, kStates[s]), std::to_string(nmse));
      const double least = bits == 4 ? 0.95 : 0.98;
      EXPECT_LT(nmse, 1.02 * kMeasured[s][bits - 1]) << bits << " bits, " << kStates[s] << " states";
      EXPECT_GT(nmse, least * kMeasured[s][bits - 1]) << bits << " bits, " << kStates[s] << " states";
    }
}

// ⟨x̂, x⟩ = ‖x‖² whatever x; only the scale is rounded, to 2^-24, and the decoded values. Frames have one size,
// and what is decoded depends on the values alone.
TEST(Tcq, IsRightAlongTheUpdateAndOfOneSize) {
  for (const std::size_t n : {1, 2, 3, 7, 8, 37, 256, 1000, 4095, 4096, 4101, 32'767, 32'768, 40'001})
    for (const unsigned states : kStates)
      for (unsigned bits = 1; bits <= 4; ++bits) {
        if (n > 4101 && (bits + states) % 3 != 0) continue;
        const Codec codec = Codec::compile(plan_of(bits, states), n);
        for (const auto& [name, x] : hard_inputs(n)) {
          const auto frame = codec.encode(x, {kSeed, 1, 1});
          const std::size_t packed = bits == 3 ? (n * 2 + 7) / 8 + (n + 7) / 8 : (n * bits + 7) / 8;
          EXPECT_EQ(frame.size() - inspect(frame).header_bytes, 4 + packed) << name;
          if (name == "denormals") continue;  // their scale has few bits
          const auto back = codec.decode(frame, {kSeed});
          double along = 0;
          for (std::size_t i = 0; i < n; ++i) along += static_cast<double>(back[i]) * static_cast<double>(x[i]);
          EXPECT_NEAR(along, std::pow(norm(x), 2), 1e-6 * norm(back) * norm(x))
              << name << ", " << n << ", " << bits << " bits, " << states << " states";
          EXPECT_TRUE(same_bits(back, codec.decode(codec.encode(x, {kSeed + 1, 2, 3}), {kSeed + 1}))) << name;
        }
      }
}

// One large value and many zeros or small ones, at every place: the search may not give it the wrong sign.
TEST(Tcq, SparseValuesKeepTheirSigns) {
  for (const std::size_t n : {2, 3, 5, 9, 16, 100})
    for (const unsigned states : kStates)
      for (unsigned bits = 1; bits <= 4; ++bits) {
        const Codec codec = Codec::compile(plan_of(bits, states), n);
        for (std::size_t place = 0; place < n; place += 1 + n / 12)
          for (const float sign : {1.0f, -1.0f}) {
            std::vector<float> x(n);
            x[place] = sign * 3;
            EXPECT_NEAR(round_trip(codec, x, {kSeed, 1, 1})[place], sign * 3, 1e-5) << n << ", " << place;
          }
      }
}

// The scale that stands at the front of a frame's section.
double scale_of(std::span<const std::byte> frame) {
  float scale = 0;
  std::memcpy(&scale, frame.data() + inspect(frame).header_bytes, sizeof scale);
  return scale;
}

// Of few values the nearest path may hardly point along them; then another one is taken, so that ⟨x, Q⟩ ≥ c‖x‖ with the
// least level c, from which the bound follows. The scale is then at most ‖x‖/c.
TEST(Tcq, FewValuesKeepTheBound) {
  RandomReader random = reader(7);
  for (const std::size_t n : {1, 2, 3, 5, 10, 20})
    for (const unsigned states : kStates)
      for (const unsigned bits : {1u, 2u, 4u}) {
        const Codec codec = Codec::compile(plan_of(bits, states), n);
        const double bound = codec.describe().nmse_bound.value();
        const Codec many = Codec::compile(plan_of(bits, states), 1000);
        const auto frame = many.encode(normal(1000, 1), {kSeed, 0, 0});
        double least = 1e9;
        for (const float value : many.decode(frame, {kSeed}))
          least = std::min(least, std::abs(static_cast<double>(value)) / scale_of(frame));
        for (int t = 0; t < 300; ++t) {
          std::vector<float> x(n);
          for (float& value : x) {
            const double size = std::exp(2 * draw_normal(random));
            value = random.next() % 3 == 0 ? 0.0f : static_cast<float>(draw_normal(random) * size);
          }
          if (norm(x) == 0) continue;
          const auto coded = codec.encode(x, {kSeed, 1, 1});
          ASSERT_LE(scale_of(coded) * least, norm(x) * (1 + 1e-6)) << n << ", " << states << ", " << bits;
          const auto back = codec.decode(coded, {kSeed});
          double along = 0;
          for (std::size_t i = 0; i < n; ++i) along += static_cast<double>(back[i]) * static_cast<double>(x[i]);
          ASSERT_NEAR(along, std::pow(norm(x), 2), 1e-6 * norm(back) * norm(x)) << n << ", " << states << ", " << bits;
          ASSERT_LE(squared_distance(back, x), (bound * (1 + 1e-6) + 1e-12) * std::pow(norm(x), 2));
        }
      }
}

// Behind rotations that clients draw for themselves the mean of N decoded updates errs by 1/N of one, within five standard
// errors of an energy of 2^12 coordinates, √(2/2^12) each.
TEST(Tcq, TheErrorOfTheMeanFallsAsOneOverTheNumberOfClients) {
  constexpr std::size_t kN = 1 << 12;
  constexpr std::uint32_t kClients = 64;
  for (const char* input : {"Gaussian", "all equal"})
    for (const unsigned bits : {1u, 2u, 4u}) {
      const auto inputs = hard_inputs(kN);
      const auto& x = std::ranges::find(inputs, input, [](const auto& named) { return named.first; })->second;
      const Codec codec = Codec::compile("hadamard:seed=client+" + plan_of(bits, 8), kN);
      Aggregator sum(codec, {kSeed, 1});
      double one = 0;
      for (std::uint64_t client = 0; client < kClients; ++client) {
        one += nmse_of(codec, x, {kSeed, 1, client}) / kClients;
        sum.add(codec.encode(x, {kSeed, 1, client}), {client, 1});
      }
      const double nmse = squared_distance(sum.mean(), x) / std::pow(norm(x), 2) * kClients;
      EXPECT_NEAR(nmse / one, 1, 5 * std::sqrt(2.0 / kN)) << input << ", " << bits << " bits";
    }
}

// The mean error of each coordinate over rotations, against its standard error: beyond 5.2 of them with a chance of 2e-7,
// 6e-4 for any of the 3072.
TEST(Tcq, IsUnbiasedOverRotations) {
  constexpr std::size_t kN = 1024;
  constexpr std::uint32_t kRounds = 400;
  const auto x = normal(kN, 3);
  for (const unsigned states : kStates) {
    const Codec codec = Codec::compile("hadamard:seed=client+" + plan_of(1, states), kN);
    std::vector<double> sum(kN), squares(kN);
    for (std::uint32_t round = 0; round < kRounds; ++round) {
      const auto back = round_trip(codec, x, {kSeed, round, 1});
      for (std::size_t i = 0; i < kN; ++i) {
        const double error = static_cast<double>(back[i]) - static_cast<double>(x[i]);
        sum[i] += error;
        squares[i] += error * error;
      }
    }
    for (std::size_t i = 0; i < kN; ++i)
      EXPECT_LT(std::abs(sum[i]), 5.2 * std::sqrt(squares[i])) << i << ", " << states;
  }
}

// Any symbols are a path; only a scale that is not one, or symbols of nothing, are refused.
TEST(Tcq, AnySymbolsDecode) {
  constexpr std::size_t kN = 1000;
  for (unsigned bits = 1; bits <= 4; ++bits) {
    const Codec codec = Codec::compile(plan_of(bits, 64), kN);
    auto frame = codec.encode(normal(kN, 1), {kSeed, 0, 0});
    const std::size_t first = inspect(frame).header_bytes + 4;
    std::uint32_t state = bits;
    for (std::size_t i = first; i < frame.size(); ++i) {
      state = state * 1664525 + 1013904223;
      frame[i] = static_cast<std::byte>(state >> 24);
    }
    reseal(frame);
    EXPECT_EQ(refusal([&] { codec.decode(frame, {kSeed}); }), std::nullopt);
    for (std::size_t i = first - 4; i < first; ++i) frame[i] = std::byte{0};
    reseal(frame);
    EXPECT_EQ(refusal([&] { codec.decode(frame, {kSeed}); }), Errc::kMalformed);
    const auto zeros = codec.encode(std::vector<float>(kN), {kSeed, 0, 0});
    for (std::size_t i = first - 4; i < zeros.size(); ++i) EXPECT_EQ(zeros[i], std::byte{0});
    EXPECT_TRUE(same_bits(codec.decode(zeros, {kSeed}), std::vector<float>(kN)));
  }
}

TEST(Tcq, PromisesUnbiasednessOnlyOverRotationsOfItsOwn) {
  EXPECT_EQ(Codec::compile("hadamard:seed=client+tcq:bits=2", 100).describe().unbiased, Unbiased::kOverRotations);
  EXPECT_EQ(Codec::compile("tcq:bits=2", 100).describe().unbiased, Unbiased::kNo);
  const auto error = error_of([&] { Codec::compile("hadamard+tcq:bits=1", 100); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), Errc::kBadPlan);
  EXPECT_TRUE(error_of([&] { Codec::compile("tcq:bits=5", 100); }).has_value());
  EXPECT_NE(Codec::compile("tcq:bits=2", 100).fingerprint(), Codec::compile("tcq:bits=3", 100).fingerprint());
}

}  // namespace
}  // namespace fewbits::test
