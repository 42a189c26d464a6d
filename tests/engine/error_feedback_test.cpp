#include "fewbits/error_feedback.h"

#include <gtest/gtest.h>

#include "fewbits/shift.h"
#include "kernels/kernels.h"
#include "tests/engine/hostile.h"
#include "tests/engine/quadratic.h"

namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 42;
constexpr std::uint64_t kClient = 7;

Context at(std::uint32_t round) { return {kSeed, round, kClient}; }

// Half of 64 values, which arrive as they are: 0.5 · x and twice that are exact.
Codec half() { return Codec::compile("mask:keep=0.5+f32", 64); }

std::vector<FeedbackOptions> every_kind() {
  return {{},
          {.storage = StateStorage::kBFloat16},
          {.momentum = 0.9},
          {.storage = StateStorage::kBFloat16, .momentum = 0.5, .masking = false},
          {.decay = 0.5, .max_age = 3},
          {.method = FeedbackMethod::kEf21},
          {.method = FeedbackMethod::kEf21, .scale = 0.3}};
}

const std::vector<const char*> kCoarse = {"bf16", "topk:keep=0.05+f32", "mask:keep=0.1+f32", "quantize:bits=1",
                                          "hadamard+mask:keep=0.2+quantize:bits=2", "mask:keep=0.1,seed=round+f32+zstd"};

std::vector<float> sent(ErrorFeedback& feedback, std::span<const float> update, std::uint32_t round) {
  const auto frame = feedback.encode(update, at(round));
  feedback.commit();
  return feedback.codec().decode(frame, {kSeed});
}

// What the next rounds send, bit for bit.
std::vector<std::vector<std::byte>> future(ErrorFeedback& feedback, std::uint32_t round) {
  std::vector<std::vector<std::byte>> frames;
  for (std::uint32_t r = round; r < round + 4; ++r) {
    frames.push_back(feedback.encode(normal(feedback.codec().elements(), 1000 + r), at(r)));
    feedback.commit();
  }
  return frames;
}

// Nothing is lost: inputs = what was sent + what is kept. Each round rounds p and e once, to 2^-24 of a magnitude that
// `most` bounds, or e to 2^-9 as bf16.
TEST(ErrorFeedback, WhatWasSentAndWhatIsKeptAreAllThatCameIn) {
  constexpr std::uint32_t kRounds = 60;
  constexpr std::size_t kSize = 200;
  for (const char* plan : kCoarse) {
    for (const StateStorage storage : {StateStorage::kFloat32, StateStorage::kBFloat16}) {
      ErrorFeedback feedback(Codec::compile(plan, kSize), {.storage = storage});
      std::vector<double> balance(kSize), most(kSize);
      for (std::uint32_t round = 1; round <= kRounds; ++round) {
        const auto x = normal(kSize, round);
        const auto before = feedback.memory();
        const auto out = sent(feedback, x, round);
        for (std::size_t i = 0; i < kSize; ++i) {
          balance[i] += static_cast<double>(x[i]) - static_cast<double>(out[i]);
          const double p = std::abs(static_cast<double>(x[i]) + static_cast<double>(before[i]));
          most[i] = std::max({most[i], p, p + std::abs(static_cast<double>(out[i]))});
        }
      }
      const auto memory = feedback.memory();
      const double unit = storage == StateStorage::kFloat32 ? 0x1p-24 : 0x1p-9 + 0x1p-24;
      for (std::size_t i = 0; i < kSize; ++i) {
        ASSERT_NEAR(balance[i], static_cast<double>(memory[i]), kRounds * (0x1p-24 + unit) * most[i]) << plan << ", " << i;
      }
    }
  }
}

// Rounding to nearest even loses as often as it gains. Each error is at most 2^-9 of its value in magnitude, so by
// Hoeffding's inequality a mean over independent signs is over z times the root of the sum of squared bounds with
// probability under 2·exp(-z²/2): 4e-6 at z = 5.
TEST(ErrorFeedback, BFloat16MemoryDoesNotDrift) {
  constexpr std::size_t kSize = 4096;
  constexpr std::uint32_t kRounds = 50;
  ErrorFeedback feedback(Codec::compile("mask:keep=0.1+f32", kSize), {.storage = StateStorage::kBFloat16});
  double lost = 0, bounds = 0;
  for (std::uint32_t round = 1; round <= kRounds; ++round) {
    auto x = normal(kSize, round);
    for (float& value : x) value = std::abs(value);   // memories are positive: truncation would lose every time
    const auto before = feedback.memory();
    const auto out = sent(feedback, x, round);
    const auto after = feedback.memory();
    for (std::size_t i = 0; i < kSize; ++i) {
      const double exact = static_cast<double>(x[i]) + static_cast<double>(before[i]) - static_cast<double>(out[i]);
      lost += exact - static_cast<double>(after[i]);
      bounds += std::pow(0x1p-9 * exact, 2);
    }
  }
  EXPECT_LE(std::abs(lost), 5 * std::sqrt(bounds));
}

TEST(ErrorFeedback, BFloat16MemoryIsTheNearestToTheFullOne) {
  ErrorFeedback full(half()), rounded(half(), {.storage = StateStorage::kBFloat16});
  const auto x = normal(64, 3);
  sent(full, x, 1);
  sent(rounded, x, 1);
  std::vector<float> expected = full.memory();
  for (float& value : expected) value = kernels::from_bfloat(kernels::to_bfloat(value));
  EXPECT_TRUE(same_bits(rounded.memory(), expected));
  EXPECT_GT(squared_distance(full.memory(), expected), 0);
}

TEST(ErrorFeedback, KeepsExactlyWhatASubsetLeavesOut) {
  ErrorFeedback feedback(half());
  EXPECT_EQ(feedback.memory(), std::vector<float>(64));
  EXPECT_EQ(feedback.round(), std::nullopt);
  const auto x = normal(64, 1);
  const auto out = sent(feedback, x, 5);
  EXPECT_EQ(feedback.round(), 5u);
  const auto memory = feedback.memory();
  std::size_t kept = 0;
  for (std::size_t i = 0; i < 64; ++i) {
    kept += out[i] == 0;
    EXPECT_EQ(out[i], out[i] == 0 ? 0 : x[i]);
    EXPECT_EQ(memory[i], out[i] == 0 ? x[i] : 0);
  }
  EXPECT_EQ(kept, 32u);
}

// A biased codec gets p as it is; one whose NMSE is at most ω gets p/(1 + ω).
TEST(ErrorFeedback, TheScaleMakesUnbiasedCodecsContractions) {
  const auto x = normal(64, 1);
  EXPECT_EQ(ErrorFeedback(half()).encode(x, at(1)), ErrorFeedback(half(), {.scale = 0.5}).encode(x, at(1)));
  const Codec bf16 = Codec::compile("bf16", 64);
  EXPECT_EQ(ErrorFeedback(bf16).encode(x, at(1)), bf16.encode(x, at(1)));
  for (const char* plan : kCoarse) {
    ErrorFeedback feedback(Codec::compile(plan, 64));
    for (std::uint32_t round = 1; round <= 300; ++round) sent(feedback, x, round);
    // Where a share r of ‖p‖ remains, memories stay below r/(1 - r) of the inputs. r² is at most ω/(1 + ω), and ω is 32 at
    // most: r/(1 - r) is below 65.
    EXPECT_LT(norm(feedback.memory()), 65 * norm(x)) << plan;
  }
  ErrorFeedback unscaled(Codec::compile("mask:keep=0.1+f32", 64), {.scale = 1});
  std::uint32_t round = 0;
  while (round < 300 && norm(unscaled.memory()) < 1e6 * norm(x)) sent(unscaled, x, ++round);
  EXPECT_LT(round, 300u);   // without it the memory grows without end

  // Biased ones come as they are, but for the gain of a mask.
  for (const auto& [plan, scale] : {std::pair{"topk:keep=0.1+quantize:bits=4", 1.0}, std::pair{"mask:keep=0.5+bf16", 0.5},
                                    std::pair{"hadamard:seed=client+lloyd:bits=1", 1.0}, std::pair{"topk:keep=0.1+f32", 1.0},
                                    std::pair{"topk:keep=0.5+mask:keep=0.25+f32", 0.25}}) {
    const Codec biased = Codec::compile(plan, 64);
    EXPECT_EQ(ErrorFeedback(biased).encode(x, at(1)), ErrorFeedback(biased, {.scale = scale}).encode(x, at(1))) << plan;
    ErrorFeedback feedback(biased);
    for (round = 1; round <= 300; ++round) sent(feedback, x, round);
    EXPECT_LT(norm(feedback.memory()), 65 * norm(x)) << plan;
  }
}

// u = 0.5·u + x, p = e + u; where p was sent both are 0.
TEST(ErrorFeedback, MomentumIsThatOfDgc) {
  for (const bool masking : {true, false}) {
    ErrorFeedback feedback(half(), {.momentum = 0.5, .masking = masking});
    std::vector<float> u(64), v(64);
    for (std::uint32_t round = 1; round <= 20; ++round) {
      auto x = normal(64, round);
      for (float& value : x) value = std::ldexp(std::round(value * 64), -6);   // so that the sums below are exact
      const auto out = sent(feedback, x, round);
      for (std::size_t i = 0; i < 64; ++i) {
        u[i] = 0.5f * u[i] + x[i];
        v[i] += u[i];
        if (out[i] == 0) continue;
        EXPECT_EQ(out[i], v[i]);
        v[i] = 0;
        if (masking) u[i] = 0;
      }
      ASSERT_EQ(feedback.memory(), v) << "round " << round;
    }
  }
}

TEST(ErrorFeedback, AMemoryFadesByTheRoundsThatWereSkipped) {
  struct Case {
    std::uint32_t next;
    FeedbackOptions options;
    float factor;
  };
  for (const Case& c : {Case{4, {}, 1}, Case{9, {}, 1}, Case{kMaxRound, {}, 1},            // by default it is kept
                        Case{4, {.decay = 0.5}, 1}, Case{5, {.decay = 0.5}, 0.5}, Case{9, {.decay = 0.5}, 1.0f / 32},
                        Case{4, {.decay = 0}, 1}, Case{5, {.decay = 0}, 0},
                        Case{6, {.max_age = 3}, 1}, Case{7, {.max_age = 3}, 0}, Case{kMaxRound, {.decay = 0.5}, 0},
                        Case{5, {.decay = 0.5, .max_age = 2}, 0.5}, Case{6, {.decay = 0.5, .max_age = 2}, 0}}) {
    ErrorFeedback feedback(half(), c.options);
    sent(feedback, normal(64, 1), 3);
    const auto before = feedback.memory();
    const auto out = sent(feedback, std::vector<float>(64), c.next);
    const auto after = feedback.memory();
    for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(out[i] + after[i], c.factor * before[i]) << c.next << ", " << i;
  }
}

// With momentum both vectors fade: e is what was not sent of x, and u is where nothing was sent.
TEST(ErrorFeedback, MomentumFadesWithTheMemory) {
  ErrorFeedback feedback(half(), {.momentum = 0.5, .decay = 0.25});
  const auto x = normal(64, 1);
  sent(feedback, x, 1);
  const auto before = feedback.memory();
  const auto out = sent(feedback, std::vector<float>(64), 3);
  const auto after = feedback.memory();
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(out[i] + after[i], 0.25f * before[i] + 0.5f * 0.25f * before[i]) << i;
}

TEST(ErrorFeedback, AnAbandonedFrameCostsNothing) {
  for (const FeedbackOptions& options : every_kind()) {
    ErrorFeedback lossy(half(), options), whole(half(), options);
    for (std::uint32_t round = 1; round <= 6; ++round) {
      const auto x = normal(64, round);
      if (round % 2 == 0) {
        lossy.encode(normal(64, 99), at(round));
        EXPECT_TRUE(lossy.pending());
        lossy.abandon();
        EXPECT_FALSE(lossy.pending());
      }
      EXPECT_EQ(lossy.encode(x, at(round)), whole.encode(x, at(round)));   // the same update may go out again
      lossy.commit();
      whole.commit();
    }
    EXPECT_EQ(lossy.save(), whole.save());
    lossy.abandon();   // nothing is pending: nothing happens
    EXPECT_EQ(lossy.save(), whole.save());
  }
}

TEST(ErrorFeedback, ARestoredMemoryGoesOnBitForBit) {
  for (const char* plan : kCoarse) {
    for (const FeedbackOptions& options : every_kind()) {
      const Codec codec = Codec::compile(plan, net(150));
      ErrorFeedback first(codec, options);
      ErrorFeedback fresh = ErrorFeedback::restore(codec, first.save(), options);
      EXPECT_EQ(fresh.save(), first.save());
      for (std::uint32_t round = 1; round <= 5; ++round) sent(first, normal(150, round), round);
      first.encode(normal(150, 77), at(6));   // pending: no part of the state
      ErrorFeedback second = ErrorFeedback::restore(codec, first.save(), options);
      first.abandon();
      EXPECT_FALSE(second.pending());
      EXPECT_EQ(second.round(), 5u);
      EXPECT_EQ(second.save(), first.save());
      EXPECT_EQ(future(second, 8), future(first, 8)) << plan;
      EXPECT_EQ(second.save(), first.save());
    }
  }
}

class AMemory : public ::testing::Test {
 protected:
  explicit AMemory(const char* plan = "f16") : feedback_(Codec::compile(plan, 64)) { sent(feedback_, normal(64, 1), 3); }

  // The call throws Error with this code, and the state and all that follows is what it was.
  template <class Call>
  void refused(Errc code, Call call) {
    const auto before = feedback_.save();
    EXPECT_EQ(refusal(call), code);
    EXPECT_EQ(feedback_.save(), before);
  }

  ErrorFeedback feedback_;
};

TEST_F(AMemory, RefusesWhatItCannotEncodeAndStaysAsItIs) {
  const auto with = [](float value) {
    auto x = normal(64, 2);
    x[40] = value;
    return x;
  };
  refused(Errc::kBadArgument, [&] { feedback_.encode(normal(63, 2), at(4)); });
  refused(Errc::kBadArgument, [&] { feedback_.encode({}, at(4)); });
  for (const float value : {NAN, HUGE_VALF, -HUGE_VALF})
    refused(Errc::kNotFinite, [&] { feedback_.encode(with(value), at(4)); });
  refused(Errc::kBadArgument, [&] { feedback_.encode(with(1e6f), at(4)); });   // f16's own refusal
  for (const std::uint32_t round : {0u, 2u, 3u})
    refused(Errc::kWrongRound, [&] { feedback_.encode(normal(64, 2), at(round)); });
  refused(Errc::kBadArgument, [&] { feedback_.encode(normal(64, 2), at(kMaxRound + 1)); });
  refused(Errc::kBadArgument, [&] { feedback_.commit(); });
  EXPECT_FALSE(feedback_.pending());
  ErrorFeedback same(feedback_.codec());
  sent(same, normal(64, 1), 3);
  EXPECT_EQ(future(feedback_, 4), future(same, 4));
}

TEST_F(AMemory, RefusesASecondFrameWhileOneIsPending) {
  const auto frame = feedback_.encode(normal(64, 2), at(4));
  refused(Errc::kBadArgument, [&] { feedback_.encode(normal(64, 3), at(5)); });
  refused(Errc::kBadArgument, [&] { feedback_.set_codec(feedback_.codec()); });
  EXPECT_TRUE(feedback_.pending());
  const auto before = feedback_.memory();
  feedback_.commit();
  EXPECT_EQ(feedback_.round(), 4u);
  EXPECT_FALSE(same_bits(feedback_.memory(), before));
}

TEST_F(AMemory, OverflowIsRefused) {
  const Codec codec = Codec::compile("mask:keep=0.5+f32", 2);
  for (const StateStorage storage : {StateStorage::kFloat32, StateStorage::kBFloat16}) {
    ErrorFeedback feedback(codec, {.storage = storage});
    const std::vector<float> large(2, 3e38f);
    sent(feedback, large, 1);
    const auto before = feedback.save();
    // One of the two is kept, and kept again or doubled beyond float32.
    EXPECT_EQ(refusal([&] { feedback.encode(large, at(2)); }), Errc::kNotFinite);
    EXPECT_EQ(feedback.save(), before);
    EXPECT_FALSE(feedback.pending());
  }
  // 3.4e38 is a float32 that rounds to infinity as bf16.
  const std::vector<float> largest(2, 3.4e38f);
  ErrorFeedback rounded(codec, {.storage = StateStorage::kBFloat16});
  EXPECT_EQ(refusal([&] { rounded.encode(largest, at(1)); }), Errc::kNotFinite);
  EXPECT_EQ(rounded.memory(), std::vector<float>(2));
}

TEST_F(AMemory, GoesOnWithAnotherCodecOfItsLayout) {
  const auto before = feedback_.memory();
  refused(Errc::kBadArgument, [&] { feedback_.set_codec(Codec::compile("f16", 65)); });
  refused(Errc::kBadArgument, [&] { feedback_.set_codec(Codec::compile("f16", Layout({{"w", {64}}}))); });
  refused(Errc::kBadArgument, [&] { feedback_.set_codec(Codec::compile("train=mask:keep=0.5 | f16", 64)); });
  EXPECT_EQ(feedback_.codec().plan(), Codec::compile("f16", 64).plan());
  feedback_.set_codec(half());
  EXPECT_EQ(feedback_.codec().plan(), half().plan());
  EXPECT_TRUE(same_bits(feedback_.memory(), before));
  sent(feedback_, std::vector<float>(64), 4);
  // The half that was sent has left the memory whole: the scale is the new codec's.
  std::size_t zeros = 0;
  for (const float value : feedback_.memory()) zeros += value == 0;
  EXPECT_GE(zeros, 32u);
}

TEST(ErrorFeedback, RefusesOptionsThatMakeNoSense) {
  const auto code = [](const FeedbackOptions& options) {
    return refusal([&] { ErrorFeedback(half(), options); });
  };
  for (const double bad : {-0.1, 1.1, static_cast<double>(NAN), HUGE_VAL}) {
    EXPECT_EQ(code({.scale = bad}), Errc::kBadArgument) << bad;
    EXPECT_EQ(code({.momentum = bad}), Errc::kBadArgument) << bad;
    EXPECT_EQ(code({.decay = bad}), Errc::kBadArgument) << bad;
  }
  EXPECT_EQ(code({.scale = 0}), Errc::kBadArgument);
  EXPECT_EQ(code({.momentum = 1}), Errc::kBadArgument);
  for (FeedbackOptions options : {FeedbackOptions{.storage = StateStorage::kBFloat16}, FeedbackOptions{.momentum = 0.5},
                                  FeedbackOptions{.decay = 0.5}, FeedbackOptions{.max_age = 2}}) {
    EXPECT_EQ(code(options), std::nullopt);
    options.method = FeedbackMethod::kEf21;
    EXPECT_EQ(code(options), Errc::kBadArgument);
  }
  EXPECT_EQ(refusal([] { ErrorFeedback(Codec::compile("train=mask:keep=0.5 | f32", 64)); }), Errc::kBadArgument);
}

TEST(ErrorFeedback, OfALayoutWithoutCoordinatesSendsItsHeader) {
  ErrorFeedback feedback(Codec::compile("bf16", Layout(0)));
  feedback.encode({}, at(1));
  feedback.commit();
  EXPECT_EQ(ErrorFeedback::restore(feedback.codec(), feedback.save()).round(), 1u);
}

TEST(SavedFeedback, EveryTruncationAndFlippedBitIsRefused) {
  for (const FeedbackOptions& options : every_kind()) {
    const Codec codec = Codec::compile("bf16", 5);
    ErrorFeedback feedback(codec, options);
    sent(feedback, normal(5, 1), 300);
    const auto bytes = feedback.save();
    const auto code = [&](std::span<const std::byte> saved) {
      return refusal([&] { ErrorFeedback::restore(codec, saved, options); });
    };
    EXPECT_EQ(code(bytes), std::nullopt);
    truncations(bytes, [&](std::vector<std::byte> part) {
      EXPECT_TRUE(code(part).has_value());
      reseal_partial_sum(part);
      EXPECT_TRUE(code(part).has_value());
    });
    flips(bytes, [&](std::vector<std::byte> flipped, std::size_t at) {
      EXPECT_TRUE(code(flipped).has_value()) << at;
      reseal_partial_sum(flipped);
      if (const auto resealed = code(flipped); at < 12) {
        EXPECT_TRUE(resealed.has_value()) << at;   // magic, version, kind, fingerprint, storage
      } else if (!resealed) {
        const auto restored = ErrorFeedback::restore(codec, flipped, options);
        EXPECT_TRUE(all_finite(restored.memory()) && restored.round() <= kMaxRound) << at;
      }
    });
    auto longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_TRUE(code(longer).has_value());
    reseal_partial_sum(longer);
    EXPECT_EQ(code(longer), Errc::kTrailingBytes);
  }
}

TEST(SavedFeedback, SaysWhatIsWrong) {
  ErrorFeedback feedback(half());
  sent(feedback, normal(64, 1), 1);
  const auto bytes = feedback.save();
  const auto code = [&](const Codec& codec, const FeedbackOptions& options = {}) {
    return refusal([&] { ErrorFeedback::restore(codec, bytes, options); });
  };
  EXPECT_EQ(code(half()), std::nullopt);
  EXPECT_EQ(code(half(), {.decay = 0.5}), std::nullopt);
  EXPECT_EQ(code(Codec::compile("mask:keep=0.25+f32", 64)), Errc::kWrongPlan);
  EXPECT_EQ(code(Codec::compile("mask:keep=0.5+f32", 65)), Errc::kWrongPlan);
  EXPECT_EQ(code(half(), {.method = FeedbackMethod::kEf21}), Errc::kWrongPlan);
  EXPECT_EQ(code(half(), {.storage = StateStorage::kBFloat16}), Errc::kWrongPlan);
  EXPECT_EQ(code(half(), {.momentum = 0.5}), Errc::kWrongPlan);
  EXPECT_EQ(refusal([&] { Shift::restore(half(), bytes); }), Errc::kWrongPlan);

  ErrorFeedback last(half());
  sent(last, normal(64, 1), kMaxRound);   // the round's varint stands for one more, and takes five bytes
  EXPECT_EQ(ErrorFeedback::restore(half(), last.save()).round(), kMaxRound);
  auto beyond = with_value(last.save(), 12, std::uint8_t{0x81});
  reseal_partial_sum(beyond);
  EXPECT_EQ(refusal([&] { ErrorFeedback::restore(half(), beyond); }), Errc::kMalformed);

  constexpr std::size_t kValues = 13;   // after magic, version, kind, fingerprint, storage and a round of one byte
  for (const float bad : {NAN, HUGE_VALF, -HUGE_VALF}) {
    auto poisoned = with_value(bytes, kValues + 4 * 63, bad);
    EXPECT_EQ(refusal([&] { ErrorFeedback::restore(half(), poisoned); }), Errc::kChecksumMismatch);
    reseal_partial_sum(poisoned);
    EXPECT_EQ(refusal([&] { ErrorFeedback::restore(half(), poisoned); }), Errc::kMalformed);
  }
}

// What stalls a biased codec: at the optimum the clients' gradients are not zero, and so neither are their errors. EF14
// leaves rate times the mean memory, EF21 nothing, since what it codes vanishes. (Richtárik et al. 2021, theorem 1: with a
// fifth of the coordinates, and curvature 1, EF21 converges for rates up to 0.105.)
TEST(ErrorFeedback, LetsBiasedCodecsReachTheOptimum) {
  struct Case {
    const char* plan;
    double stalled;
  };
  // bf16 rounds by up to 2^-9 of gradients of 8 or so, six clients' errors are averaged, and the model goes where their
  // mean is right again: some 5e-3. The largest fifth of each client's gradient has a mean far from the mean gradient's.
  for (const Case& c : {Case{"bf16", 2e-3}, Case{"topk:keep=0.2+f32", 1}}) {
    const Codec codec = Codec::compile(c.plan, 100);
    const Quadratic start(6, 100, 10, 3);
    const Descent descent{.rounds = 1000, .rate = 0.1};

    Quadratic plain = start;
    Descent without = descent;
    without.encode = [&](std::size_t, std::span<const float> x, const Context& context) { return codec.encode(x, context); };
    const double stalled = without.run(plain, codec);

    const auto with = [&](const FeedbackOptions& options, double share = 1) {
      std::vector<ErrorFeedback> clients;
      for (std::size_t i = 0; i < start.clients(); ++i) clients.emplace_back(codec, options);
      ServerShift server(codec, ShiftMethod::kEf21);
      Descent own = descent;
      own.encode = [&](std::size_t i, std::span<const float> x, const Context& context) {
        return clients[i].encode(x, context);
      };
      own.arrived = [&](std::size_t i) { clients[i].commit(); };
      own.takes_part = [&](std::uint32_t round, std::size_t i) { return reader(100 * round + i).uniform() < share; };
      if (options.method == FeedbackMethod::kEf21)
        own.update = [&](const Aggregator& sum) { return server.update(sum, start.total); };
      Quadratic task = start;
      return own.run(task, codec);
    };
    const double ef14 = with({}), ef21 = with({.method = FeedbackMethod::kEf21});
    const double ef21_of_some = with({.method = FeedbackMethod::kEf21}, 0.7);
    EXPECT_GT(stalled, c.stalled) << c.plan;
    EXPECT_LT(ef14, stalled / 3) << c.plan;
    EXPECT_LT(ef21, 1e-5) << c.plan;   // float32 of values near 10
    EXPECT_LT(ef21_of_some, 1e-5) << c.plan;
  }
}

}  // namespace
}  // namespace fewbits::test
