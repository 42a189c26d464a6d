#include "fewbits/aggregator.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/engine/support.h"

namespace fewbits::test {
namespace {

constexpr std::size_t kSize = 40;
constexpr RoundContext kRound{.seed = 42, .round = 3};

Context of_client(std::uint64_t client) { return {kRound.seed, kRound.round, client}; }

// A sum of one good frame; every test adds something that must be refused and looks at the sum again.
class ASum : public ::testing::Test {
 protected:
  ASum() { sum_.add(codec_.encode(normal(kSize, 1), of_client(1)), {1, 10}); }

  // The call throws Error with this code, and the sum is what it was, to the bit.
  template <class Call>
  void refused(Errc code, Call call) {
    const auto before = sum_.serialize();
    const auto mean = sum_.mean();
    EXPECT_EQ(refusal(call), code);
    EXPECT_EQ(sum_.serialize(), before);
    EXPECT_TRUE(same_bits(sum_.mean(), mean));
  }

  std::vector<std::byte> frame(std::uint64_t client) const {
    return codec_.encode(normal(kSize, client), of_client(client));
  }

  Codec codec_ = Codec::compile("hadamard+quantize:bits=4", kSize);
  Aggregator sum_{codec_, kRound};
};

TEST_F(ASum, RefusesAFrameOfAnotherRound) {
  for (const std::uint32_t round : {0u, 2u, 4u, kMaxRound}) {
    const auto other = codec_.encode(normal(kSize, 2), {kRound.seed, round, 2});
    refused(Errc::kWrongRound, [&] { sum_.add(other, {2, 1}); });
  }
}

TEST_F(ASum, RefusesAFrameOfAnotherPlan) {
  for (const char* plan :
       {"hadamard+quantize:bits=3", "quantize:bits=4", "hadamard:seed=client+quantize:bits=4", "f32"}) {
    const auto other = Codec::compile(plan, kSize).encode(normal(kSize, 2), of_client(2));
    refused(Errc::kWrongPlan, [&] { sum_.add(other, {2, 1}); });
  }
}

TEST_F(ASum, RefusesAFrameOfAnotherLayout) {
  for (const Layout& layout :
       {Layout(kSize + 1), Layout(kSize - 1), Layout({{"w", {kSize}}}), Layout({{"", {4, 10}}})}) {
    const Codec other = Codec::compile(codec_.plan(), layout);
    const auto theirs = other.encode(normal(other.elements(), 2), of_client(2));
    refused(Errc::kWrongPlan, [&] { sum_.add(theirs, {2, 1}); });
  }
}

TEST_F(ASum, RefusesAFrameThatNamesAnotherClient) {
  const auto theirs = frame(2);
  for (const std::uint64_t claimed : {std::uint64_t{0}, std::uint64_t{3}, ~std::uint64_t{0}})
    refused(Errc::kWrongClient, [&] { sum_.add(theirs, {claimed, 1}); });
}

TEST_F(ASum, RefusesTheSameClientTwice) {
  refused(Errc::kDuplicateClient, [&] { sum_.add(frame(1), {1, 10}); });
  sum_.add(frame(2), {2, 1});
  refused(Errc::kDuplicateClient, [&] { sum_.add(frame(2), {2, 1}); });
}

TEST_F(ASum, RefusesWeightsThatAreNotPositiveAndFinite) {
  for (const double weight : {0.0, -0.0, -1.0, -1e-300, static_cast<double>(NAN), HUGE_VAL, -HUGE_VAL})
    refused(Errc::kBadArgument, [&] { sum_.add(frame(2), {2, weight}); });
  sum_.add(frame(2), {2, 1});  // the client was not counted as seen
}

TEST_F(ASum, RefusesWeightsOverTheLimit) {
  refused(Errc::kTooLarge, [&] { sum_.add(frame(2), {2, std::nextafter(Limits{}.max_weight, HUGE_VAL)}); });
  refused(Errc::kTooLarge, [&] { sum_.add(frame(2), {2, std::numeric_limits<double>::max()}); });
  sum_.add(frame(2), {2, Limits{}.max_weight});
}

TEST_F(ASum, MergesOnlyWhatBelongsToIt) {
  const auto sum_of = [](const char* plan, RoundContext context, std::uint64_t client) {
    const Codec codec = Codec::compile(plan, kSize);
    Aggregator sum(codec, context);
    sum.add(codec.encode(normal(kSize, 5), {context.seed, context.round, client}), {client, 1});
    return sum;
  };
  const char* plan = "hadamard+quantize:bits=4";
  refused(Errc::kWrongPlan, [&] { sum_.merge(sum_of("hadamard+quantize:bits=5", kRound, 2)); });
  refused(Errc::kWrongRound, [&] { sum_.merge(sum_of(plan, {42, 4}, 2)); });
  refused(Errc::kWrongSeed, [&] { sum_.merge(sum_of(plan, {43, 3}, 2)); });
  refused(Errc::kDuplicateClient, [&] { sum_.merge(sum_of(plan, kRound, 1)); });
  refused(Errc::kDuplicateClient, [&] { sum_.merge(sum_); });
  sum_.merge(sum_of(plan, kRound, 2));
  EXPECT_EQ(sum_.clients(), 2u);
  EXPECT_EQ(sum_.total_weight(), 11.0);
}

// A merge that fails at one client has not taken in those that came before it, in whatever order it looks at them.
TEST_F(ASum, AMergeWithOneCommonClientAddsNone) {
  for (const std::vector<std::uint64_t>& clients :
       {std::vector<std::uint64_t>{1, 9, 8, 7}, {9, 1, 8, 7}, {9, 8, 1, 7}, {9, 8, 7, 1}}) {
    Aggregator other(codec_, kRound);
    for (const std::uint64_t client : clients) other.add(frame(client), {client, 1});
    refused(Errc::kDuplicateClient, [&] { sum_.merge(other); });
  }
  sum_.add(frame(9), {9, 1});
}

TEST_F(ASum, OfAnotherSeedDecodesOtherValuesButStaysFinite) {
  Aggregator other(codec_, {43, 3});
  other.add(frame(1), {1, 10});
  EXPECT_FALSE(same_bits(other.mean(), sum_.mean()));
  EXPECT_TRUE(all_finite(other.mean()));
}

TEST_F(ASum, MovesWithItsClients) {
  const auto before = sum_.serialize();
  Aggregator moved = std::move(sum_);
  EXPECT_EQ(moved.serialize(), before);
  sum_ = std::move(moved);
  refused(Errc::kDuplicateClient, [&] { sum_.add(frame(1), {1, 10}); });
}

TEST(Aggregator, OfNoClientHasNoMean) {
  const Aggregator sum(Codec::compile("f32", kSize), kRound);
  EXPECT_EQ(sum.clients(), 0u);
  EXPECT_EQ(sum.total_weight(), 0.0);
  EXPECT_EQ(refusal([&] { sum.mean(); }), Errc::kEmpty);
}

TEST(Aggregator, RefusesLimitsAndRoundsThatMakeNoSense) {
  const Codec codec = Codec::compile("f32", kSize);
  for (const double bad : {0.0, -1.0, static_cast<double>(NAN), HUGE_VAL}) {
    EXPECT_EQ(refusal([&] { Aggregator(codec, kRound, {.max_abs = bad}); }), Errc::kBadArgument) << bad;
    EXPECT_EQ(refusal([&] { Aggregator(codec, kRound, {.max_weight = bad}); }), Errc::kBadArgument) << bad;
  }
  EXPECT_EQ(refusal([&] { Aggregator(codec, {42, kMaxRound + 1}); }), Errc::kBadArgument);
}

// The limit is one of dequantized coefficients: exactly at it passes, the next float is refused.
TEST(Aggregator, ComparesMagnitudesWithItsLimit) {
  for (const char* plan : {"f32", "quantize:bits=2", "bf16", "mask:keep=1+f32"}) {
    const Codec codec = Codec::compile(plan, 4);
    Aggregator sum(codec, kRound, {.max_abs = 8});
    sum.add(codec.encode(std::vector<float>{8, -8, 1, 2}, of_client(1)), {1, 1});
    const auto before = sum.serialize();
    for (const float over : {8.0625f, -8.0625f, 1e38f, -1e38f}) {
      const auto frame = codec.encode(std::vector<float>{1, 2, over, 3}, of_client(2));
      EXPECT_EQ(refusal([&] { sum.add(frame, {2, 1}); }), Errc::kTooLarge) << plan << ", " << over;
      EXPECT_EQ(sum.serialize(), before);
    }
  }
}

// Limits at their largest allowed values must still leave a finite mean.
TEST(Aggregator, TheLargestLimitsLeaveTheMeanFinite) {
  for (const char* plan :
       {"f32", "quantize:bits=1", "hadamard+f32", "mask:keep=0.1+f32", "hadamard+mask:keep=0.1+f32"}) {
    const Codec codec = Codec::compile(plan, 1000);
    Aggregator sum(codec, kRound, {.max_abs = 1e20, .max_weight = 1e20});
    for (const std::uint64_t client : {1, 2, 3}) {
      const std::vector<float> x(1000, client == 2 ? -9.9e19f / 32 : 9.9e19f / 32);
      sum.add(codec.encode(x, of_client(client)), {client, 1e20});
    }
    EXPECT_TRUE(all_finite(sum.mean())) << plan;
  }
}

TEST(Aggregator, OfALayoutWithoutCoordinatesStillCountsClients) {
  const Codec codec = Codec::compile("quantize:bits=2", Layout(0));
  Aggregator sum(codec, kRound);
  sum.add(codec.encode({}, of_client(7)), {7, 2});
  EXPECT_EQ(sum.clients(), 1u);
  EXPECT_TRUE(sum.mean().empty());
  auto longer = codec.encode({}, of_client(8));
  longer.push_back(std::byte{0});
  EXPECT_EQ(refusal([&] { sum.add(resealed(longer), {8, 1}); }), Errc::kTrailingBytes);
}

}  // namespace
}  // namespace fewbits::test
