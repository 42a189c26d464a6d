#include "fewbits/integers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "fewbits/profile.h"
#include "tests/engine/support.h"

// Updates as integers at a common step, against an Aggregator that adds the frames of the same clients.
namespace fewbits::test {
namespace {

constexpr RoundContext kRound{.seed = 2026, .round = 5, .cohort_size = 3};

std::vector<Contribution> clients() { return {{11, 1, 0}, {4, 600, 1}, {1'000'000, 3, 2}}; }

Codec with_common_step(const std::string& plan, const Layout& layout) {
  const Codec codec = Codec::compile(plan, layout);
  if (!codec.takes_profile()) return codec;
  ProfileLearner learner(layout);
  learner.learn(normal(layout.elements(), 99));
  return codec.with_profile(learner.profile().with_common_step(codec));
}

std::vector<std::int32_t> encoded(const Integers& integers, std::span<const float> update, const Contribution& from) {
  std::vector<std::int32_t> own(integers.size(), -7);
  integers.encode(update, from, own);
  return own;
}

struct Means {
  std::vector<float> of_integers;
  std::vector<float> of_frames;
};

Means means(const Codec& codec, double scale = 1) {
  const Integers integers(codec, kRound);
  Aggregator frames(codec, kRound);
  std::vector<std::int64_t> sums(integers.size());
  const auto all = clients();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto update = normal(codec.elements(), i + 1, scale);
    const auto own = encoded(integers, update, all[i]);
    for (std::size_t j = 0; j < own.size(); ++j) sums[j] += static_cast<std::int64_t>(all[i].weight) * own[j];
    frames.add(codec.encode(update, {kRound.seed, kRound.round, all[i].client, {all[i].cohort_index, kRound.cohort_size}}), all[i]);
  }
  return {integers.mean(sums, all), frames.mean()};
}

Errc refused(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return Errc{};
}

const char* const kLinear[] = {
    "trellis:step=0.3,scale=flat",
    "dither:step=0.3,scale=flat",
    "dither:step=0.3,scale=flat,correlated=1",
    "trellis:states=8,bits=2,scale=profile",
    "trellis:bits=0.2,scale=profile",
    "dither:bits=1,scale=profile",
    "hadamard+trellis:step=0.5,scale=flat",
    "mask:keep=0.3,seed=round+dither:step=0.1,scale=flat",
    "hadamard+mask:keep=0.5,seed=round+trellis:step=0.1,scale=flat",
    "in.bias=dither:step=0.01,scale=flat; *=trellis:bits=1,scale=profile",
    "*.weight=trellis:bits=1,scale=profile; *=dither:step=0.25,scale=flat",
};

class LinearPlan : public testing::TestWithParam<const char*> {};

// Sums stay far below 2^53 units, so that both are exact.
TEST_P(LinearPlan, TheMeanHasTheBitsOfTheMeanOfTheFrames) {
  for (const std::size_t n : {1, 2, 3, 15, 17, 63, 64, 65, 511, 1023, 1024, 1025, 4099}) {
    const Means both = means(with_common_step(GetParam(), net(n)));
    ASSERT_EQ(both.of_integers, both.of_frames) << GetParam() << ", n = " << n;
  }
}

TEST_P(LinearPlan, TheSumsValuesAreThoseOfTheMean) {
  const Codec codec = with_common_step(GetParam(), net(1025));
  const Integers integers(codec, kRound);
  std::vector<std::int64_t> sums(integers.size());
  double weight = 0;
  for (const Contribution& from : clients()) {
    const auto own = encoded(integers, normal(codec.elements(), from.client), from);
    for (std::size_t j = 0; j < own.size(); ++j) sums[j] += static_cast<std::int64_t>(from.weight) * own[j];
    weight += from.weight;
  }
  std::vector<double> values = integers.values(sums, clients());
  for (double& value : values) value /= weight;
  const auto mean = integers.mean(sums, clients());
  const auto update = integers.update(values);
  double largest = 0;
  for (const float value : mean) largest = std::max(largest, static_cast<double>(std::abs(value)));
  for (std::size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(update[i], mean[i], 1e-6 * largest) << i;
}

TEST(Integers, ValuesAreTheUpdateBehindTheTransforms) {
  const Integers plain(Codec::compile("dither:scale=flat,step=0.01", 1000), kRound);
  const auto update = normal(1000, 3);
  EXPECT_EQ(plain.values(update), update);

  const Integers rotated(Codec::compile("hadamard+dither:scale=flat,step=0.01", 1000), kRound);
  const std::vector<float> values = rotated.values(update);
  EXPECT_NE(values, update);
  const auto back = rotated.update(std::vector<double>(values.begin(), values.end()));
  for (std::size_t i = 0; i < update.size(); ++i) EXPECT_NEAR(back[i], update[i], 1e-5) << i;

  EXPECT_THROW(plain.values(normal(999, 3)), Error);
  EXPECT_THROW(plain.update(std::vector<double>(999)), Error);
}

TEST(Integers, AnEmptyUpdateHasNone) {
  for (const char* plan : {"dither:step=1,scale=flat", "hadamard+trellis:step=1,scale=flat"}) {
    const Integers integers(Codec::compile(plan, std::size_t{0}), kRound);
    EXPECT_EQ(integers.size(), 0u);
    EXPECT_EQ(encoded(integers, {}, {11}), std::vector<std::int32_t>());
    EXPECT_EQ(integers.mean({}, clients()), std::vector<float>());
  }
}

// A frame says that an update is zero; integers do not, and stand for it without bias. |z| <= 5 of the mean over coordinates,
// whose errors have at most the variance of one alone, step²/4.
TEST(Integers, ZerosAreCodedAsOtherUpdates) {
  constexpr std::size_t kSize = 10'000;
  const Codec codec = Codec::compile("trellis:step=0.5,scale=flat", kSize);
  const Integers integers(codec, kRound);
  const std::vector<Contribution> one = {{7}};
  const auto own = encoded(integers, std::vector<float>(kSize), one[0]);
  const auto mean = integers.mean(std::vector<std::int64_t>(own.begin(), own.end()), one);
  double sum = 0;
  for (const float value : mean) {
    EXPECT_LE(std::abs(value), 0.5 * 2.5);
    sum += value;
  }
  EXPECT_LE(std::abs(sum), 5 * std::sqrt(kSize * 0.25 * 0.25));
}

TEST(Integers, WhatIsNotKeptIsZero) {
  const Codec codec = with_common_step("trellis:bits=0.05,scale=profile", net(4000));
  const Integers integers(codec, kRound);
  const auto own = encoded(integers, normal(4000, 1), {11});
  const auto zeros = static_cast<std::size_t>(std::ranges::count(own, 0));
  EXPECT_GT(zeros, own.size() / 2);
  EXPECT_LT(zeros, own.size());
}

// 2^30 steps times a weight of 600 are beyond 2^53 units: the sums are rounded to float64, each a few times.
TEST(Integers, HugeSumsAreRoundedAsFloat64) {
  const Means both = means(Codec::compile("dither:step=1,scale=flat", 100), 0x1p26);
  for (std::size_t i = 0; i < both.of_frames.size(); ++i)
    EXPECT_NEAR(both.of_integers[i], both.of_frames[i], 1e-6 * std::abs(both.of_frames[i]));
}

TEST(Integers, OtherPlansAreRefused) {
  for (const char* plan : {"f32", "trellis:bits=2", "trellis:bits=2,scale=flat", "trellis:bits=2,scale=profile", "hadamard+quantize:bits=4",
                           "mask:keep=0.5+dither:step=1,scale=flat", "hadamard:seed=client+dither:step=1,scale=flat",
                           "topk:keep=0.5+dither:step=1,scale=flat", "*.bias=f32; *=dither:step=1,scale=flat"}) {
    EXPECT_EQ(refused([&] { Integers(Codec::compile(plan, net(100)), kRound); }), Errc::kBadArgument) << plan;
  }
  const Codec codec = Codec::compile("trellis:bits=2,scale=profile", net(100));
  ProfileLearner learner(codec.layout());
  learner.learn(normal(100, 1));
  EXPECT_EQ(refused([&] { Integers(codec.with_profile(learner.profile()), kRound); }), Errc::kBadArgument);
  Integers(codec.with_profile(learner.profile().with_common_step(codec)), kRound);
}

TEST(Integers, WrongArgumentsAreRefused) {
  const Codec codec = Codec::compile("dither:step=1,scale=flat", 10);
  const Integers integers(codec, kRound);
  std::vector<std::int32_t> own(10);
  std::vector<float> x(10, 1.0f);
  const auto encode = [&] { integers.encode(x, {1}, own); };
  encode();
  x[3] = NAN;
  EXPECT_EQ(refused(encode), Errc::kNotFinite);
  x[3] = 0x1p31f;
  EXPECT_EQ(refused(encode), Errc::kBadArgument);
  x.assign(9, 1);
  EXPECT_EQ(refused(encode), Errc::kBadArgument);
  x.assign(10, 1);
  own.resize(9);
  EXPECT_EQ(refused(encode), Errc::kBadArgument);
  own.resize(10);
  EXPECT_EQ(refused([&] { integers.encode(x, {1, 1, 3}, own); }), Errc::kBadArgument);
  const std::vector<std::int64_t> sums(10);
  const auto mean = [&](std::vector<Contribution> from) { return refused([&] { integers.mean(sums, from); }); };
  EXPECT_EQ(mean({{1}, {2}}), Errc{});
  EXPECT_EQ(mean({}), Errc::kEmpty);
  EXPECT_EQ(mean({{1}, {1}}), Errc::kDuplicateClient);
  EXPECT_EQ(mean({{1, 1, 3}}), Errc::kBadArgument);
  for (const double weight : {0.0, -1.0, 0.5, 1e300, std::nan("")}) EXPECT_EQ(mean({{1, weight}}), Errc::kBadArgument);
  EXPECT_EQ(refused([&] { integers.mean(std::vector<std::int64_t>(9), clients()); }), Errc::kBadArgument);
  EXPECT_EQ(refused([&] { Integers(codec, {.round = kMaxRound + 1}); }), Errc::kBadArgument);
}

INSTANTIATE_TEST_SUITE_P(Plans, LinearPlan, testing::ValuesIn(kLinear));

}  // namespace
}  // namespace fewbits::test
