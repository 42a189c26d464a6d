#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <thread>

#include "fewbits/stages.h"
#include "tests/engine/every_plan.h"

namespace fewbits::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Plans, EveryPlan, ::testing::ValuesIn(all_plans()), name_of);

TEST(Registry, EveryStageHasARoleAndIsCoveredInEachOfItsRoles) {
  for (const StageDescriptor* stage : registry()) {
    const int roles = (stage->make_transform != nullptr) + (stage->make_quantizer != nullptr) +
                      (stage->make_coder != nullptr) + (stage->make_family != nullptr);
    EXPECT_GE(roles, 1) << stage->name;
    EXPECT_GE(plans_of(*stage).size(), static_cast<std::size_t>(roles)) << stage->name;
    EXPECT_EQ(find_stage(stage->name), stage);
    const auto same_id = std::ranges::count(registry(), stage->id, [](const auto* other) { return other->id; });
    EXPECT_EQ(same_id, 1) << stage->name;
  }
  EXPECT_EQ(stages().size(), registry().size());
}

// An error of x̂ that `describe` bounds for every draw: its norm; and for plans without loss x̂ = x but for float32's
// rounding. That of a rotation is at most log2(n) + 2 roundings a value and keeps norms, and no plan here rotates more
// than four times: 4·(log2(n) + 2)·2^-24 of the norm.
TEST_P(EveryPlan, AFrameDecodesWithinThePromiseOfThePlan) {
  for (const std::size_t n : kSizes) {
    const Codec c = codec(n);
    const auto x = update(c, n);
    const auto back = c.decode(c.encode(x, context(17)), run(17));
    ASSERT_EQ(back.size(), x.size());
    ASSERT_TRUE(all_finite(back));
    const Description promise = c.describe();
    const double rounding = 4 * (static_cast<double>(std::bit_width(n)) + 2) * 0x1p-24;
    if (promise.norm_growth) {
      EXPECT_LE(norm(back), (*promise.norm_growth * norm(x) + promise.norm_added) * (1 + rounding)) << n;
    }
    if (promise.nmse_bound == 0.0) {
      EXPECT_LE(std::sqrt(squared_distance(back, x)), rounding * norm(x)) << n;
    }
  }
}

// E‖mean of 64 − x‖² is at most bound·‖x‖²/64 for an unbiased plan. Markov's inequality leaves 1/10 for ten times that
// whatever the distribution; sums of this many errors are near their mean. Seeds are fixed.
TEST_P(EveryPlan, TheMeanOfManyRoundsComesNearTheUpdateWhereThePlanIsUnbiased) {
  for (const std::size_t n : {2, 17, 65}) {
    const Codec c = codec(n);
    const Description promise = c.describe();
    if (promise.unbiased != Unbiased::kAlways || !promise.nmse_bound) return;
    const auto x = update(c, n);
    std::vector<double> total(x.size());
    constexpr unsigned kRounds = 64;
    for (unsigned round = 0; round < kRounds; ++round) {
      const auto back = c.decode(c.encode(x, context(round % 3, round)), run(round % 3));
      for (std::size_t i = 0; i < x.size(); ++i) total[i] += static_cast<double>(back[i]) / kRounds;
    }
    double error = 0;
    for (std::size_t i = 0; i < x.size(); ++i) error += std::pow(total[i] - static_cast<double>(x[i]), 2);
    EXPECT_LE(error, (10 * *promise.nmse_bound / kRounds + 1e-10) * std::pow(norm(x), 2)) << n;
  }
}

TEST_P(EveryPlan, TheSameInputGivesTheSameBytes) {
  for (const std::size_t n : kSizes) {
    const Codec c = codec(n);
    const auto x = update(c, n);
    const auto frame = c.encode(x, context(17));
    Encoder reused(c);
    if (n <= 5000) {
      reused.encode(update(c, n + 1), {kSeed + 1, kRound + 1, 1, cohort(1)});
      reused.encode(std::vector<float>(c.elements(), -1e4f), context(std::numeric_limits<std::uint64_t>::max()));
      const Codec again = codec(n);
      EXPECT_EQ(again.encode(x, context(17)), frame) << n;
    }
    const bool remembers = reused.save().size() != Encoder(c).save().size();
    if (remembers) continue;
    EXPECT_TRUE(std::ranges::equal(reused.encode(x, context(17)), frame)) << n;
  }
}

TEST_P(EveryPlan, FramesInMemoryOfTheCallersAreTheSame) {
  for (const std::size_t n : kSizes) {
    const Codec c = codec(n);
    const auto x = update(c, n);
    const auto frame = c.encode(x, context(17));
    std::vector<std::byte> room(c.max_frame_size() + 1, std::byte{0xAA});
    const auto same = [&](std::size_t length) { return std::ranges::equal(std::span(room).first(length), frame); };
    EXPECT_TRUE(same(c.encode(x, context(17), std::span(room).first(c.max_frame_size())))) << n;
    EXPECT_EQ(room.back(), std::byte{0xAA}) << n;
    EXPECT_TRUE(same(Encoder(c).encode(x, context(17), room))) << n;
    const auto too_little = std::span(room).first(c.max_frame_size() - 1);
    EXPECT_EQ(refusal([&] { c.encode(x, context(17), too_little); }), Errc::kBadArgument) << n;
  }
}

// What an encoder remembers is all that its frames depend on beside their input.
TEST_P(EveryPlan, EncodersWithTheSameMemoryWriteTheSameBytes) {
  for (const std::size_t n : kFewSizes) {
    const Codec c = codec(n);
    Encoder first(c), second(c);
    const std::vector<std::byte> fresh(c.encode(update(c, n), context(17)));
    EXPECT_TRUE(std::ranges::equal(first.encode(update(c, n), context(17)), fresh)) << n;
    second.restore(first.save());
    const auto x = update(c, n + 1);
    const auto frame = first.encode(x, context(17));
    EXPECT_TRUE(std::ranges::equal(second.encode(x, context(17)), frame)) << n;
    EXPECT_EQ(first.save(), second.save());
    EXPECT_TRUE(all_finite(c.decode(frame, run(17))));
  }
}

// An encoder that refused an update goes on as if it had not seen it.
TEST_P(EveryPlan, ARefusedUpdateLeavesNoTraceInAnEncoder) {
  const Codec c = codec(65);
  const auto x = update(c, 1);
  Encoder encoder(c);
  auto bad = update(c, 2);
  bad.back() = NAN;
  EXPECT_EQ(refusal([&] { encoder.encode(bad, context(17)); }), Errc::kNotFinite);
  EXPECT_TRUE(std::ranges::equal(encoder.encode(x, context(17)), c.encode(x, context(17))));
}

TEST_P(EveryPlan, FramesAreNeverLongerThanPromisedAndOfThatLengthWhereItIsFixed) {
  for (const std::size_t n : kSizes) {
    const Codec c = codec(n);
    const Description promise = c.describe();
    EXPECT_EQ(promise.max_frame_bytes, c.max_frame_size());
    for (const Context& keys : {context(0), context(std::numeric_limits<std::uint64_t>::max(), kMaxRound)}) {
      const auto frame = c.encode(update(c, n), keys);
      EXPECT_LE(frame.size(), c.max_frame_size()) << n;
      if (promise.fixed_size && keys.round == kMaxRound) {
        EXPECT_EQ(frame.size(), c.max_frame_size()) << n;
      }
      const FrameInfo info = inspect(frame);
      ASSERT_EQ(info.sections.size(), std::max<std::size_t>(1, promise.groups.size())) << n;
      for (std::size_t g = 0; g < promise.groups.size(); ++g) {
        EXPECT_LE(info.sections[g].bytes, promise.groups[g].max_bytes) << n;
        if (promise.groups[g].fixed_size) {
          EXPECT_EQ(info.sections[g].bytes, promise.groups[g].max_bytes) << n;
        }
      }
      if (n > 5000) break;
    }
  }
}

TEST_P(EveryPlan, TheHeaderStaysWithin24BytesForUsualClientsAnd30Always) {
  const Codec c = codec(65);
  const auto x = update(c, 1);
  for (const std::uint64_t client :
       {std::uint64_t{0}, std::uint64_t{127}, std::uint64_t{128}, (std::uint64_t{1} << 28) - 1, std::uint64_t{1} << 28,
        std::uint64_t{1} << 63, ~std::uint64_t{0}})
    for (const std::uint32_t round : {0u, 127u, 128u, kMaxRound}) {
      const FrameInfo info = inspect(c.encode(x, context(client, round)));
      EXPECT_EQ(info.round, round);
      EXPECT_EQ(info.client, client);
      EXPECT_EQ(info.fingerprint, c.fingerprint());
      EXPECT_LE(info.header_bytes, client < 1u << 28 ? 24u : 30u);
    }
}

TEST_P(EveryPlan, DecodingIsTheMeanOfOneClient) {
  for (const std::size_t n : kSizes) {
    const Codec c = codec(n);
    const auto frame = c.encode(update(c, n), context(17));
    const auto back = c.decode(frame, run(17));
    Aggregator sum(c, round_context());
    sum.add(frame, from(17));
    EXPECT_TRUE(same_bits(sum.mean(), back)) << n;
    Aggregator weighted(c, round_context());
    weighted.add(frame, from(17, 600.7));
    expect_mean(weighted.mean(), {back}, {600.7});
  }
}

TEST_P(EveryPlan, TheMeanIsTheWeightedMeanOfTheDecodedUpdates) {
  const std::vector<double> weights = {1, 600, 0.001, 37.5, 1e6};
  for (const std::size_t n : kFewSizes) {
    const Codec c = codec(n);
    Aggregator sum(c, round_context());
    std::vector<std::vector<float>> updates;
    double total = 0;
    for (std::size_t client = 0; client < weights.size(); ++client) {
      const auto frame = c.encode(update(c, 100 * n + client), context(client));
      updates.push_back(c.decode(frame, run(client)));
      sum.add(frame, from(client, weights[client]));
      total += weights[client];
    }
    EXPECT_EQ(sum.clients(), weights.size());
    EXPECT_DOUBLE_EQ(sum.total_weight(), total);
    expect_mean(sum.mean(), updates, weights);
  }
}

TEST_P(EveryPlan, PartialSumsMergeToTheWholeSum) {
  for (const std::size_t n : kFewSizes) {
    const Codec c = codec(n);
    Aggregator whole(c, round_context()), left(c, round_context()), right(c, round_context()), last(c, round_context());
    std::vector<std::vector<float>> updates;
    std::vector<double> weights;
    for (std::uint64_t client = 0; client < 7; ++client) {
      const auto frame = c.encode(update(c, 100 * n + client), context(client));
      updates.push_back(c.decode(frame, run(client)));
      weights.push_back(1.0 + static_cast<double>(client));
      whole.add(frame, from(client, weights.back()));
      (client == 6 ? last : client < 3 ? left : right).add(frame, from(client, weights.back()));
    }
    left.merge(right);
    left.merge(last);
    left.merge(Aggregator(c, round_context()));
    EXPECT_EQ(left.clients(), 7u);
    EXPECT_EQ(left.total_weight(), whole.total_weight());
    expect_mean(left.mean(), updates, weights);
    expect_mean(whole.mean(), updates, weights);
  }
}

// One frame's values are the same whether they are added to a sum or, through zeros, by a merge.
TEST_P(EveryPlan, MergingOneClientEqualsAddingIt) {
  const Codec c = codec(65);
  Aggregator added(c, round_context()), merged(c, round_context()), one(c, round_context());
  const auto first = c.encode(update(c, 1), context(1));
  const auto second = c.encode(update(c, 2), context(2));
  added.add(first, from(1, 3));
  merged.add(first, from(1, 3));
  added.add(second, from(2, 5));
  one.add(second, from(2, 5));
  merged.merge(one);
  EXPECT_EQ(merged.serialize(), added.serialize());
}

TEST_P(EveryPlan, ARestoredSumGoesOnAsTheOriginal) {
  for (const std::size_t n : kFewSizes) {
    const Codec c = codec(n);
    Aggregator sum(c, round_context());
    EXPECT_EQ(Aggregator::restore(c, round_context(), sum.serialize()).clients(), 0u);
    for (const std::uint64_t client : {std::uint64_t{5}, std::uint64_t{0}, ~std::uint64_t{0}})
      sum.add(c.encode(update(c, client), context(client)), from(client, 2.5));
    Aggregator restored = Aggregator::restore(c, round_context(), sum.serialize());
    EXPECT_TRUE(same_bits(restored.mean(), sum.mean())) << n;
    EXPECT_EQ(restored.serialize(), sum.serialize());
    const auto next = c.encode(update(c, 9), context(9));
    restored.add(next, from(9));
    sum.add(next, from(9));
    EXPECT_EQ(restored.serialize(), sum.serialize());
    EXPECT_EQ(refusal([&] { restored.add(next, from(9)); }), Errc::kDuplicateClient);
  }
}

TEST_P(EveryPlan, UpdatesThatAreNotFiniteOrOfAnotherLengthAreRefused) {
  for (const std::size_t n : kFewSizes) {
    const Codec c = codec(n);
    const auto x = update(c, n);
    for (const float bad : {NAN, INFINITY, -INFINITY})
      for (const std::size_t at : {std::size_t{0}, x.size() / 2, x.size() - 1}) {
        if (at >= x.size()) continue;
        auto damaged = x;
        damaged[at] = bad;
        EXPECT_EQ(refusal([&] { c.encode(damaged, context(1)); }), Errc::kNotFinite) << n << ", " << at;
      }
    auto longer = x;
    longer.push_back(1);
    EXPECT_EQ(refusal([&] { c.encode(longer, context(1)); }), Errc::kBadArgument);
    if (!x.empty()) {
      EXPECT_EQ(refusal([&] { c.encode(std::span(x).first(x.size() - 1), context(1)); }), Errc::kBadArgument);
    }
    EXPECT_EQ(refusal([&] { c.encode(x, {kSeed, kMaxRound + 1, 1, cohort(1)}); }), Errc::kBadArgument);
  }
}

TEST_P(EveryPlan, CanonicalTextIsAFixedPointAndMeansTheSame) {
  const Codec c = codec(65);
  const Codec again = Codec::compile(c.plan(), c.layout());
  EXPECT_EQ(again.plan(), c.plan());
  EXPECT_EQ(again.fingerprint(), c.fingerprint());
  EXPECT_EQ(again.elements(), c.elements());
  EXPECT_EQ(c.structured(), c.plan().starts_with("train="));
  const auto x = update(c, 65);
  EXPECT_EQ(again.encode(x, context(1)), c.encode(x, context(1)));
}

TEST_P(EveryPlan, TheDescriptionAddsUp) {
  for (const std::size_t n : kFewSizes) {
    const Codec c = codec(n);
    const Description all = c.describe();
    EXPECT_EQ(all.coordinates, n);
    EXPECT_EQ(all.parameters, c.elements());
    EXPECT_EQ(all.structure.empty(), !c.structured());
    std::size_t coordinates = 0;
    for (const GroupDescription& group : all.groups) {
      coordinates += group.coordinates;
      EXPECT_LE(group.values, group.coordinates);
      EXPECT_LE(all.nmse_bound ? *group.nmse_bound : 0, all.nmse_bound.value_or(0));
    }
    EXPECT_EQ(coordinates, c.elements());
  }
}

TEST_P(EveryPlan, TwoThreadsShareACodec) {
  const Codec c = codec(1000);
  constexpr std::uint64_t kClients = 8;
  const auto work = [&](std::uint64_t client) {
    const auto frame = c.encode(update(c, client), context(client));
    return std::pair(frame, c.decode(frame, run(client)));
  };
  std::vector<decltype(work(0))> apart(kClients), alone(kClients);
  std::vector<std::thread> threads;
  for (std::uint64_t first = 0; first < 2; ++first)
    threads.emplace_back([&, first] {
      for (std::uint64_t client = first; client < kClients; client += 2) apart[client] = work(client);
    });
  for (std::thread& thread : threads) thread.join();
  for (std::uint64_t client = 0; client < kClients; ++client) alone[client] = work(client);
  EXPECT_EQ(apart, alone);
}

// Whatever is larger than every block and buffer: a million coordinates.
TEST(AMillionCoordinates, GoThroughAFrame) {
  for (const char* plan : {"f32", "quantize:bits=1", "hadamard+mask:keep=0.0625+quantize:bits=2",
                           "mask:keep=0.01+bf16+zstd", "quantize:bits=4,block=4096"}) {
    const Codec c = Codec::compile(plan, 1'000'000);
    const auto x = normal(c.elements(), 6);
    const auto frame = c.encode(x, {kSeed, kRound, 17});
    EXPECT_LE(frame.size(), c.max_frame_size());
    const auto back = c.decode(frame, {kSeed});
    Aggregator sum(c, {kSeed, kRound});
    sum.add(frame, {.client = 17});
    EXPECT_TRUE(same_bits(sum.mean(), back));
    const auto bound = c.describe().nmse_bound;
    // One draw over 10^6 coordinates stays near its mean, which is under the bound.
    if (bound) {
      EXPECT_LE(squared_distance(x, back), (1.1 * *bound + 1e-10) * std::pow(norm(x), 2)) << plan;
    }
  }
}

}  // namespace
}  // namespace fewbits::test
