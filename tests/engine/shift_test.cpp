#include "fewbits/shift.h"

#include <gtest/gtest.h>

#include <set>

#include "fewbits/error_feedback.h"
#include "tests/engine/hostile.h"
#include "tests/engine/quadratic.h"

namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 42;
constexpr const char* kPlan = "mask:keep=0.25+f32";   // NMSE 3: the rate is 1/4

Context at(std::uint32_t round, std::uint64_t client = 7) { return {kSeed, round, client}; }

std::vector<float> sent(Shift& shift, std::span<const float> update, std::uint32_t round) {
  const auto frame = shift.encode(update, at(round));
  shift.commit();
  return shift.codec().decode(frame, {kSeed});
}

TEST(Shift, SendsTheDifferenceAndLearnsAShareOfWhatWasSent) {
  const Codec codec = Codec::compile(kPlan, 64);
  Shift shift(codec);
  EXPECT_EQ(shift.rate(), 0.25);
  std::vector<double> h(64);
  for (std::uint32_t round = 1; round <= 10; ++round) {
    const auto x = normal(64, round);
    const auto before = shift.memory();
    std::vector<float> difference(64);
    for (std::size_t i = 0; i < 64; ++i) difference[i] = x[i] - before[i];
    const auto frame = shift.encode(x, at(round));
    EXPECT_EQ(frame, codec.encode(difference, at(round)));
    EXPECT_EQ(shift.memory(), before);
    shift.commit();
    EXPECT_EQ(shift.round(), round);
    const auto decoded = codec.decode(frame, {kSeed});
    for (std::size_t i = 0; i < 64; ++i) {
      h[i] += 0.25 * static_cast<double>(decoded[i]);
      EXPECT_NEAR(static_cast<double>(shift.memory()[i]), h[i], round * 0x1p-24 * 64);
    }
  }
}

TEST(Shift, TheRateIsGivenOrFollowsFromTheBound) {
  EXPECT_EQ(Shift(Codec::compile("f32", 8)).rate(), 1);
  EXPECT_EQ(Shift(Codec::compile(kPlan, 8), {.rate = 0.1}).rate(), 0.1);
  for (const double bad : {0.0, -1.0, 1.5, static_cast<double>(NAN)})
    EXPECT_EQ(refusal([&] { Shift(Codec::compile(kPlan, 8), {.rate = bad}); }), Errc::kBadArgument) << bad;
  EXPECT_EQ(refusal([] { Shift(Codec::compile("bf16", 8)); }), Errc::kBadArgument);
  EXPECT_EQ(Shift(Codec::compile("bf16", 8), {.rate = 0.5}).rate(), 0.5);
  EXPECT_EQ(refusal([] { Shift(Codec::compile("train=mask:keep=0.5 | f32", 8)); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([] { ServerShift(Codec::compile("bf16", 8), ShiftMethod::kDiana); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([] { ServerShift(Codec::compile("train=mask:keep=0.5 | f32", 8), ShiftMethod::kEf21); }),
            Errc::kBadArgument);
  Shift shift(Codec::compile(kPlan, 8));
  shift.set_codec(Codec::compile("mask:keep=0.5+f32", 8));
  EXPECT_EQ(shift.rate(), 0.5);
  EXPECT_EQ(refusal([&] { shift.set_codec(Codec::compile("bf16", 8)); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { shift.set_codec(Codec::compile(kPlan, 9)); }), Errc::kBadArgument);
  EXPECT_EQ(shift.rate(), 0.5);
  EXPECT_EQ(shift.codec().plan(), Codec::compile("mask:keep=0.5+f32", 8).plan());
}

TEST(Shift, RefusalsAndAbandonedFramesLeaveItAsItWas) {
  const Codec codec = Codec::compile(kPlan, 64);
  Shift shift(codec);
  sent(shift, normal(64, 1), 3);
  const auto before = shift.save();
  auto bad = normal(64, 2);
  bad[5] = NAN;
  EXPECT_EQ(refusal([&] { shift.encode(bad, at(4)); }), Errc::kNotFinite);
  EXPECT_EQ(refusal([&] { shift.encode(normal(65, 2), at(4)); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { shift.encode(normal(64, 2), at(3)); }), Errc::kWrongRound);
  EXPECT_EQ(refusal([&] { shift.commit(); }), Errc::kBadArgument);
  shift.encode(normal(64, 2), at(4));
  EXPECT_TRUE(shift.pending());
  EXPECT_EQ(refusal([&] { shift.encode(normal(64, 2), at(5)); }), Errc::kBadArgument);
  shift.abandon();
  EXPECT_EQ(shift.save(), before);
  Shift restored = Shift::restore(codec, before);
  for (std::uint32_t round = 4; round < 8; ++round) {
    EXPECT_EQ(shift.encode(normal(64, round), at(round)), restored.encode(normal(64, round), at(round)));
    shift.commit();
    restored.commit();
  }
  EXPECT_EQ(shift.save(), restored.save());
  EXPECT_EQ(refusal([&] { ErrorFeedback::restore(codec, before); }), Errc::kWrongPlan);
}

// Clients of different weights that come and go, and frames that are lost.
template <class Client>
struct Cohorts {
  static constexpr std::size_t kClients = 5;
  static constexpr std::size_t kSize = 40;

  explicit Cohorts(const Codec& the_codec, ShiftMethod method, std::vector<Client> the_clients)
      : codec(the_codec), server(codec, method), clients(std::move(the_clients)) {}

  static bool takes_part(std::uint32_t round, std::size_t client) { return (round * 7 + client * 3) % 5 < 2; }
  static bool is_lost(std::uint32_t round, std::size_t client) { return (round + client) % 4 == 0; }

  // Runs a round. Nothing where all its frames are lost.
  std::optional<std::vector<float>> run(std::uint32_t round) {
    sum.emplace(codec, RoundContext{kSeed, round});
    for (std::size_t i = 0; i < kClients; ++i) {
      if (!takes_part(round, i)) continue;
      const auto frame = clients[i].encode(normal(kSize, 100 * round + i), at(round, i));
      if (is_lost(round, i)) {
        clients[i].abandon();
        continue;
      }
      sum->add(frame, {i, Quadratic::weight(i)});
      clients[i].commit();
      if (seen.insert(i).second) population += Quadratic::weight(i);
    }
    if (sum->clients() == 0) return std::nullopt;
    return server.update(*sum, population);
  }

  std::vector<double> mean_memory() const {
    std::vector<double> mean(kSize);
    for (std::size_t i = 0; i < kClients; ++i) {
      const auto h = clients[i].memory();
      for (std::size_t j = 0; j < kSize; ++j) mean[j] += Quadratic::weight(i) * static_cast<double>(h[j]) / population;
    }
    return mean;
  }

  Codec codec;
  ServerShift server;
  std::vector<Client> clients;
  std::optional<Aggregator> sum;
  std::set<std::size_t> seen;
  double population = 0;
};

template <class Client, class... Options>
std::vector<Client> five(const Codec& codec, const Options&... options) {
  std::vector<Client> clients;
  for (std::size_t i = 0; i < 5; ++i) clients.emplace_back(codec, options...);
  return clients;
}

// Each round rounds a memory, of at most 64, and a mean, to 2^-24 of them.
constexpr double kRounding = 40 * 64 * 0x1p-23;

TEST(ServerShift, Ef21IsTheMeanMemoryOfAllClientsSeen) {
  const Codec codec = Codec::compile("bf16", 40);
  Cohorts<ErrorFeedback> cohorts(codec, ShiftMethod::kEf21,
                                 five<ErrorFeedback>(codec, FeedbackOptions{.method = FeedbackMethod::kEf21}));
  std::size_t updates = 0;
  for (std::uint32_t round = 1; round <= 40; ++round) {
    const auto update = cohorts.run(round);
    if (!update) continue;
    ++updates;
    const auto mean = cohorts.mean_memory();
    for (std::size_t j = 0; j < 40; ++j) ASSERT_NEAR(static_cast<double>((*update)[j]), mean[j], kRounding) << round;
  }
  EXPECT_GT(updates, 25u);
  EXPECT_EQ(cohorts.seen.size(), 5u);
}

TEST(ServerShift, DianaAddsTheCohortsDifferenceToTheMeanMemoryOfAll) {
  const Codec codec = Codec::compile(kPlan, 40);
  Cohorts<Shift> cohorts(codec, ShiftMethod::kDiana, five<Shift>(codec));
  for (std::uint32_t round = 1; round <= 40; ++round) {
    const double before_population = cohorts.population;
    auto before = cohorts.population > 0 ? cohorts.mean_memory() : std::vector<double>(40);
    const auto update = cohorts.run(round);
    if (!update) continue;
    const auto difference = cohorts.sum->mean();
    for (std::size_t j = 0; j < 40; ++j) {
      const double h = before[j] * before_population / cohorts.population;
      ASSERT_NEAR(static_cast<double>((*update)[j]), h + static_cast<double>(difference[j]), kRounding) << round;
    }
  }
  EXPECT_EQ(cohorts.seen.size(), 5u);
}

TEST(ServerShift, ARestoredOneGoesOnBitForBit) {
  const Codec codec = Codec::compile(kPlan, 40);
  Cohorts<Shift> cohorts(codec, ShiftMethod::kDiana, five<Shift>(codec));
  EXPECT_EQ(ServerShift::restore(codec, cohorts.server.save(), ShiftMethod::kDiana).save(), cohorts.server.save());
  std::size_t compared = 0;
  for (std::uint32_t round = 1; round <= 20; ++round) {
    ServerShift restored = ServerShift::restore(codec, cohorts.server.save(), ShiftMethod::kDiana);
    const auto update = cohorts.run(round);
    if (!update) continue;
    ++compared;
    EXPECT_TRUE(same_bits(restored.update(*cohorts.sum, cohorts.population), *update));
    EXPECT_EQ(restored.save(), cohorts.server.save());
  }
  EXPECT_GT(compared, 10u);
}

TEST(ServerShift, RefusesWhatDoesNotBelongToItAndStaysAsItIs) {
  const Codec codec = Codec::compile(kPlan, 40);
  ServerShift server(codec, ShiftMethod::kDiana);
  const auto sum_of = [](const Codec& with, std::uint32_t round) {
    Aggregator sum(with, {kSeed, round});
    sum.add(with.encode(normal(with.elements(), round), at(round)), {7, 3});
    return sum;
  };
  server.update(sum_of(codec, 5), 3);
  const auto before = server.save();
  const auto refused = [&](Errc code, const Aggregator& sum, double population) {
    EXPECT_EQ(refusal([&] { server.update(sum, population); }), code);
    EXPECT_EQ(server.save(), before);
  };
  refused(Errc::kWrongRound, sum_of(codec, 5), 3);
  refused(Errc::kWrongRound, sum_of(codec, 4), 3);
  refused(Errc::kWrongPlan, sum_of(Codec::compile("mask:keep=0.5+f32", 40), 6), 3);
  refused(Errc::kWrongPlan, sum_of(Codec::compile(kPlan, 41), 6), 3);
  refused(Errc::kEmpty, Aggregator(codec, {kSeed, 6}), 3);
  for (const double population : {0.0, -3.0, 2.9, static_cast<double>(NAN), HUGE_VAL})
    refused(Errc::kBadArgument, sum_of(codec, 6), population);
  EXPECT_EQ(refusal([&] { server.set_codec(Codec::compile(kPlan, 41)); }), Errc::kBadArgument);
  server.set_codec(Codec::compile("f32", 40));
  server.update(sum_of(server.codec(), 6), 3);
}

// A sum of memories that no honest round leads to: the update is refused, and nothing has moved.
TEST(ServerShift, RefusesAnUpdateBeyondFloat32) {
  const Codec codec = Codec::compile("f32", 1);
  for (const ShiftMethod method : {ShiftMethod::kDiana, ShiftMethod::kEf21}) {
    ServerShift server(codec, method);
    const auto sum_of = [&](std::uint32_t round) {
      Aggregator sum(codec, {kSeed, round});
      sum.add(codec.encode(std::vector<float>(1, 2.0f), at(round)), {7, 1});
      return sum;
    };
    EXPECT_EQ(server.update(sum_of(1), 1)[0], 2);
    auto large = with_value(server.save(), 12, 1e39);   // after kind, fingerprint and a round of one byte
    reseal_partial_sum(large);
    server = ServerShift::restore(codec, large, method);
    EXPECT_EQ(refusal([&] { server.update(sum_of(2), 1); }), Errc::kTooLarge);
    EXPECT_EQ(server.save(), large);
    EXPECT_NEAR(static_cast<double>(server.update(sum_of(2), 100)[0]), 1e37, 1e31);
  }
}

// At the optimum of heterogeneous clients the updates are not zero, and the noise of an unbiased codec is proportional to
// them: plain averaging stalls. DIANA's noise is proportional to the differences, which vanish. With a cohort of half the
// clients as well.
TEST(Shift, DianaReachesTheOptimumWherePlainCompressionStalls) {
  const Codec codec = Codec::compile(kPlan, 64);
  const Quadratic start(10, 64, 10, 9);
  for (const bool half : {false, true}) {
    Descent descent{.rounds = 1200, .rate = 0.2};
    if (half) descent.takes_part = [](std::uint32_t round, std::size_t i) { return reader(100 * round + i).uniform() < 0.5; };
    descent.encode = [&](std::size_t, std::span<const float> x, const Context& context) { return codec.encode(x, context); };
    Quadratic plain = start;
    const double stalled = descent.run(plain, codec);

    std::vector<Shift> clients;
    for (std::size_t i = 0; i < start.clients(); ++i) clients.emplace_back(codec);
    ServerShift server(codec, ShiftMethod::kDiana);
    descent.encode = [&](std::size_t i, std::span<const float> x, const Context& context) {
      return clients[i].encode(x, context);
    };
    descent.arrived = [&](std::size_t i) { clients[i].commit(); };
    descent.update = [&](const Aggregator& sum) { return server.update(sum, start.total); };
    Quadratic shifted = start;
    const double exact = descent.run(shifted, codec);
    EXPECT_GT(stalled, 0.3);
    EXPECT_LT(exact, 1e-5);   // float32 of values near 10
  }
}

TEST(Reference, IsSubtractedByTheClientAndAddedByTheServer) {
  const Codec codec = Codec::compile("f32", 64);
  Reference client(codec), server(codec);
  EXPECT_EQ(client.get(), std::vector<float>(64));
  const auto reference = normal(64, 1, 4);
  client.set(reference);
  server.set(reference);
  EXPECT_EQ(client.hash(), server.hash());
  Aggregator sum(codec, {kSeed, 1});
  std::vector<double> mean(64);
  for (std::uint64_t i = 0; i < 3; ++i) {
    const auto x = normal(64, 10 + i);
    sum.add(client.encode(x, at(1, i)), {i, 1});
    for (std::size_t j = 0; j < 64; ++j) mean[j] += static_cast<double>(x[j]) / 3;
  }
  const auto update = server.mean(sum);
  for (std::size_t j = 0; j < 64; ++j) EXPECT_NEAR(static_cast<double>(update[j]), mean[j], 32 * 0x1p-23);
  server.set(normal(64, 2));
  EXPECT_NE(client.hash(), server.hash());
}

// The error is that of the difference, not of the update: NMSE 3 of it, over 400 rounds. A round's relative error is a sum
// over 64 coordinates of which a quarter is kept; its deviation is under its mean, so that the mean is known to 1/20 of it
// at one sigma; five are allowed.
TEST(Reference, TheErrorIsThatOfTheDifference) {
  const Codec codec = Codec::compile(kPlan, 64);
  Reference reference(codec);
  const auto x = normal(64, 1, 100);
  auto near = x;
  for (std::size_t i = 0; i < 64; ++i) near[i] += normal(64, 2)[i];
  reference.set(near);
  const double distance = squared_distance(near, x);
  double error = 0;
  for (std::uint32_t round = 1; round <= 400; ++round) {
    Aggregator sum(codec, {kSeed, round});
    sum.add(reference.encode(x, at(round)), {7, 1});
    error += squared_distance(reference.mean(sum), x) / 400;
  }
  EXPECT_NEAR(error / distance, 3, 3 * 5.0 / 20);
}

TEST(Reference, RefusesWhatDoesNotBelongToIt) {
  const Codec codec = Codec::compile(kPlan, 64);
  Reference reference(codec);
  reference.set(normal(64, 1));
  const auto before = reference.get();
  auto bad = normal(64, 2);
  bad[3] = HUGE_VALF;
  EXPECT_EQ(refusal([&] { reference.set(bad); }), Errc::kNotFinite);
  EXPECT_EQ(refusal([&] { reference.set(normal(63, 2)); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { reference.encode(bad, at(1)); }), Errc::kNotFinite);
  EXPECT_EQ(refusal([&] { reference.encode(normal(63, 2), at(1)); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { reference.mean(Aggregator(codec, {kSeed, 1})); }), Errc::kEmpty);
  const Codec other = Codec::compile("f32", 64);
  Aggregator sum(other, {kSeed, 1});
  sum.add(other.encode(normal(64, 3), at(1)), {7, 1});
  EXPECT_EQ(refusal([&] { reference.mean(sum); }), Errc::kWrongPlan);
  EXPECT_EQ(refusal([] { Reference(Codec::compile("train=mask:keep=0.5 | f32", 8)); }), Errc::kBadArgument);
  EXPECT_EQ(reference.get(), before);
  EXPECT_TRUE(same_bits(Reference::restore(codec, reference.save()).get(), before));
  reference.set_codec(other);
  EXPECT_EQ(reference.get(), before);
  EXPECT_EQ(refusal([&] { reference.set_codec(Codec::compile("f32", 65)); }), Errc::kBadArgument);
}

TEST(SavedShift, EveryTruncationAndFlippedBitIsRefused) {
  const Codec codec = Codec::compile(kPlan, 4);
  Shift shift(codec);
  ServerShift diana(codec, ShiftMethod::kDiana), ef21(codec, ShiftMethod::kEf21);
  Aggregator sum(codec, {kSeed, 300});
  sum.add(shift.encode(normal(4, 1), at(300)), {7, 1});
  shift.commit();
  diana.update(sum, 1);
  ef21.update(sum, 1);
  Reference reference(codec);
  reference.set(normal(4, 1));
  struct Case {
    std::vector<std::byte> bytes;
    std::function<std::vector<float>(const std::vector<std::byte>&)> restore;
  };
  const std::vector<Case> cases = {
      {shift.save(), [&](const auto& bytes) { return Shift::restore(codec, bytes).memory(); }},
      {reference.save(), [&](const auto& bytes) { return Reference::restore(codec, bytes).get(); }},
      {diana.save(), [&](const auto& bytes) { return ServerShift::restore(codec, bytes, ShiftMethod::kDiana), normal(1, 1); }},
      {ef21.save(), [&](const auto& bytes) { return ServerShift::restore(codec, bytes, ShiftMethod::kEf21), normal(1, 1); }},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto& [bytes, restore] = cases[i];
    const auto code = [&](const std::vector<std::byte>& saved) {
      return refusal([&] { EXPECT_TRUE(all_finite(restore(saved))); });
    };
    EXPECT_EQ(code(bytes), std::nullopt) << i;
    for (const Case& other : cases)
      if (&other != &cases[i]) {
        EXPECT_EQ(code(other.bytes), Errc::kWrongPlan) << i;
      }
    truncations(bytes, [&](std::vector<std::byte> part) {
      EXPECT_TRUE(code(part).has_value());
      reseal_partial_sum(part);
      EXPECT_TRUE(code(part).has_value());
    });
    flips(bytes, [&](std::vector<std::byte> flipped, std::size_t at) {
      EXPECT_TRUE(code(flipped).has_value()) << at;
      reseal_partial_sum(flipped);
      if (const auto resealed = code(flipped); at < 11) {
        EXPECT_TRUE(resealed.has_value()) << at;
      }
    });
  }
  auto poisoned = with_value(ef21.save(), 13, static_cast<double>(NAN));   // the round takes two bytes
  reseal_partial_sum(poisoned);
  EXPECT_EQ(refusal([&] { ServerShift::restore(codec, poisoned, ShiftMethod::kEf21); }), Errc::kMalformed);
}

}  // namespace
}  // namespace fewbits::test
