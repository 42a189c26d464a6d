#include "fewbits/downlink.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "tests/engine/hostile.h"
#include "tests/engine/support.h"

namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 42;
constexpr std::size_t kSize = 300;

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

// A model that moves from round to round, as the server's does.
std::vector<float> model_at(std::uint32_t round, std::size_t n = kSize) {
  std::vector<float> model = normal(n, 1);
  const std::vector<float> walk = normal(n, 100 + round, 0.1);
  for (std::size_t i = 0; i < n; ++i) model[i] += static_cast<float>(round) * walk[i];
  return model;
}

// Contractions, unbiased codecs that state how far they err, and wishes of so many bits; with stages that remember, keyed
// by client and by round. What only wishes for few bits may err more than the difference is long, on values without structure
// as these: such a codec is no contraction, and a view runs away with it (`trellis:bits=1` here by 1.3 a round).
const char* const kPlans[] = {"f32", "bf16", "mask:keep=0.25,seed=round+f32", "topk:keep=0.1+f32", "hadamard+quantize:bits=1",
                              "hadamard:seed=client+quantize:bits=2", "natural", "dither:bits=3", "trellis:bits=2", "trellis:nmse=0.3",
                              "quantize:bits=2+zstd"};

class EveryDownlink : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, EveryDownlink, testing::ValuesIn(kPlans));

TEST_P(EveryDownlink, ServerAndClientsHaveTheSameBitsAfterEachFrame) {
  const Codec codec = Codec::compile(GetParam(), net(kSize));
  const std::vector<float> start = normal(kSize, 7);
  Downlink server(codec, start);
  DownlinkView client(codec, start);
  EXPECT_TRUE(same_bits(server.view(), start));
  EXPECT_TRUE(same_bits(client.view(), start));
  for (const std::uint32_t round : {1u, 2u, 3u, 7u, 8u, 200u}) {   // not every round has a frame
    const std::vector<float> before = copy(server.view());
    client.add(server.encode(model_at(round), kSeed, round), kSeed);
    EXPECT_TRUE(same_bits(server.view(), client.view())) << round;
    EXPECT_FALSE(same_bits(server.view(), before)) << round;
  }
}

// One who joins in the middle has all but the roundings of the sum that the others keep: two roundings to 2^-24 of values
// below 8 a frame.
TEST_P(EveryDownlink, OneWhoJoinsWithTheViewIsAsNearAsFloatsAre) {
  const Codec codec = Codec::compile(GetParam(), net(kSize));
  Downlink server(codec, normal(kSize, 7));
  for (std::uint32_t round = 1; round <= 3; ++round) server.encode(model_at(1), kSeed, round);
  DownlinkView late(codec, server.view());
  for (std::uint32_t round = 4; round <= 9; ++round) late.add(server.encode(model_at(1), kSeed, round), kSeed);
  for (std::size_t i = 0; i < kSize; ++i) {
    if (std::abs(server.view()[i]) >= 8) continue;
    ASSERT_NEAR(late.view()[i], server.view()[i], 4 * 6 * 8 * 0x1p-24) << i;
  }
}

// Each frame leaves of the squared distance what the codec errs: of a contraction its NMSE, of an unbiased codec scaled by
// 1/(1 + ω), ω/(1 + ω), in expectation. After so many that 1e-9 of it is expected, more than 1e-6 has a probability below
// 1e-3 (Markov) over the seed, which is fixed. Where no bound is stated, two bits of normal values leave less
// than half.
TEST_P(EveryDownlink, TheViewReachesAModelThatStands) {
  const Codec codec = Codec::compile(GetParam(), net(kSize));
  const std::vector<float> start = normal(kSize, 7), model = model_at(1);
  const Description promise = codec.describe();
  const double bound = promise.nmse_bound.value_or(0.5);
  const double factor = promise.nmse_bound && promise.unbiased == Unbiased::kAlways ? bound / (1 + bound) : bound;
  const auto rounds = factor < 1e-9 ? 1 : static_cast<std::uint32_t>(std::ceil(std::log(1e-9) / std::log(factor)));
  Downlink server(codec, start);
  for (std::uint32_t round = 1; round <= rounds; ++round) server.encode(model, kSeed, round);
  EXPECT_LT(squared_distance(server.view(), model), 1e-6 * squared_distance(start, model)) << rounds << " rounds";
}

TEST_P(EveryDownlink, ASavedOneGoesOnBitForBit) {
  const Codec codec = Codec::compile(GetParam(), net(kSize));
  const std::vector<float> start = normal(kSize, 7);
  Downlink unbroken(codec, start);
  Downlink broken = Downlink::restore(codec, start, unbroken.save());   // before the first frame
  for (std::uint32_t round = 1; round <= 6; ++round) {
    const auto frame = unbroken.encode(model_at(round), kSeed, round);
    EXPECT_EQ(broken.encode(model_at(round), kSeed, round), frame) << round;
    const auto saved = broken.save();
    EXPECT_EQ(saved, unbroken.save());
    broken = Downlink::restore(codec, start, saved);
    EXPECT_TRUE(same_bits(broken.view(), unbroken.view())) << round;
  }
}

TEST_P(EveryDownlink, ADamagedFrameChangesNothing) {
  const std::size_t n = 12;
  const Codec codec = Codec::compile(GetParam(), n);
  Downlink server(codec, std::vector<float>(n));
  DownlinkView client(codec, std::vector<float>(n));
  client.add(server.encode(normal(n, 1), kSeed, 1), kSeed);
  const auto frame = server.encode(normal(n, 1), kSeed, 2);
  const std::vector<float> before = copy(client.view());
  const auto refused = [&](const std::vector<std::byte>& bytes) {
    ASSERT_TRUE(refusal([&] { client.add(bytes, kSeed); }).has_value());
    ASSERT_TRUE(same_bits(client.view(), before));
  };
  truncations(frame, refused);
  flips(frame, [&](const std::vector<std::byte>& bytes, std::size_t) { refused(bytes); });
  client.add(frame, kSeed);
  EXPECT_TRUE(same_bits(client.view(), server.view()));
}

TEST_P(EveryDownlink, WhatIsNoModelIsRefusedAndChangesNothing) {
  const Codec codec = Codec::compile(GetParam(), net(kSize));
  Downlink server(codec, normal(kSize, 7)), untouched(codec, normal(kSize, 7));
  for (Downlink* one : {&server, &untouched}) one->encode(model_at(1), kSeed, 1);
  const auto error_of_model = [&](const std::vector<float>& model, std::uint32_t round) {
    return refusal([&] { server.encode(model, kSeed, round); });
  };
  std::vector<float> bad = model_at(2);
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    bad[17] = value;
    EXPECT_EQ(error_of_model(bad, 2), Errc::kNotFinite);
  }
  for (const std::size_t n : {std::size_t{0}, kSize - 1, kSize + 1}) {
    EXPECT_EQ(error_of_model(std::vector<float>(n), 2), Errc::kBadArgument);
  }
  EXPECT_EQ(error_of_model(model_at(2), 1), Errc::kWrongRound);   // rounds grow
  EXPECT_EQ(error_of_model(model_at(2), kMaxRound + 1), Errc::kBadArgument);
  EXPECT_TRUE(same_bits(server.view(), untouched.view()));
  EXPECT_EQ(server.save(), untouched.save());
  EXPECT_EQ(server.encode(model_at(2), kSeed, 2), untouched.encode(model_at(2), kSeed, 2));
}

TEST(Downlink, CannotBeginWithWhatIsNoModel) {
  const Codec codec = Codec::compile("f32", kSize);
  std::vector<float> bad(kSize);
  bad[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(refusal([&] { Downlink(codec, bad); }), Errc::kNotFinite);
  EXPECT_EQ(refusal([&] { DownlinkView(codec, bad); }), Errc::kNotFinite);
  EXPECT_EQ(refusal([&] { Downlink(codec, std::vector<float>(kSize + 1)); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { DownlinkView(codec, std::vector<float>(kSize - 1)); }), Errc::kBadArgument);
  // Neither for the length of the model nor for that of the free parameters.
  const Codec structured = Codec::compile("train=mask:keep=0.25 | f32", net(kSize));
  for (const std::size_t n : {kSize, structured.elements()}) {
    EXPECT_EQ(refusal([&] { Downlink(structured, std::vector<float>(n)); }), Errc::kBadArgument);
    EXPECT_EQ(refusal([&] { DownlinkView(structured, std::vector<float>(n)); }), Errc::kBadArgument);
  }
}

TEST(Downlink, DamagedStatesAndThoseOfOthersAreRefused) {
  const std::size_t n = 12;
  const Codec codec = Codec::compile("mask:keep=0.5+bf16", n);
  const std::vector<float> start = normal(n, 7);
  Downlink server(codec, start);
  server.encode(normal(n, 1), kSeed, 1);
  const auto saved = server.save();
  const auto refused = [&](const std::vector<std::byte>& bytes) {
    ASSERT_TRUE(refusal([&] { Downlink::restore(codec, start, bytes); }).has_value());
  };
  truncations(saved, refused);
  flips(saved, [&](const std::vector<std::byte>& bytes, std::size_t) { refused(bytes); });
  EXPECT_TRUE(refusal([&] { Downlink::restore(Codec::compile("mask:keep=0.25+bf16", n), start, saved); }).has_value());
  EXPECT_TRUE(refusal([&] { Downlink::restore(codec, std::vector<float>(n + 1), saved); }).has_value());
}

// With the same seed, round and number: what goes down would else be masked and dithered as what client 0 sends up.
TEST(Downlink, ItsRandomnessIsNotThatOfClient0) {
  const std::vector<float> zeros(kSize), model = normal(kSize, 1);
  for (const char* plan : {"quantize:bits=2", "dither:bits=2", "mask:keep=0.5,seed=client+f32", "mask:keep=0.5,seed=round+f32"}) {
    const Codec codec = Codec::compile(plan, kSize);
    const auto down = Downlink(codec, zeros).encode(model, kSeed, 3);
    // An unbiased codec gets 1/(1 + ω) of the difference.
    const double bound = codec.describe().nmse_bound.value_or(0);
    std::vector<float> scaled(model);
    for (float& value : scaled) value = static_cast<float>(1 / (1 + bound) * static_cast<double>(value));
    EXPECT_NE(codec.encode(scaled, {.seed = kSeed, .round = 3}), down) << plan;
    if (plan == std::string("quantize:bits=2")) continue;   // its decoder draws nothing
    DownlinkView client(codec, zeros);
    client.add(down, kSeed);
    std::vector<float> as_uplink;   // of `dither` not even the frame's numbers make sense
    if (!refusal([&] { as_uplink = codec.decode(down, {.seed = kSeed}); })) {
      EXPECT_FALSE(same_bits(as_uplink, client.view())) << plan;
    }
  }
}

TEST(Downlink, RunsDrawApart) {
  const Codec codec = Codec::compile("mask:keep=0.5,seed=round+f32", kSize);
  const std::vector<float> zeros(kSize);
  const auto a = Downlink(codec, zeros).encode(model_at(1), kSeed, 1), b = Downlink(codec, zeros).encode(model_at(1), kSeed + 1, 1);
  EXPECT_NE(a, b);
}

}  // namespace
}  // namespace fewbits::test
