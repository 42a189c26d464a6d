#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "federated/canary.h"
#include "federated/private_rounds.h"
#include "fewbits/aggregator.h"
#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "fewbits/privacy/accountant.h"
#include "fewbits/privacy/audit.h"
#include "fewbits/secure/system_random.h"
#include "kernels/random.h"
#include "tests/federated/given_updates.h"
#include "tests/federated/run_all.h"
#include "tests/federated/synthetic_task.h"

// Training with user-level privacy. Noise and cohorts are the system's, so that runs differ: what is random here fails a sound trainer
// once in 10^6 runs (five standard errors), unless another chance is named.
namespace fewbits::federated {
namespace {

bool long_tests() { return std::getenv("FEWBITS_LONG_TESTS") != nullptr; }

constexpr double kErrors = 5;
constexpr double kNorm = 2;
constexpr std::array kPlans = {"f32", "bf16", "quantize:bits=2", "hadamard+quantize:bits=1", "natural", "qsgd:levels=1", "ternary", "mask:keep=0.1+f32",
                               "topk:keep=0.1+f32", "permk:cohort=10+f32", "eden:bits=1", "sign", "dither:bits=1", "trellis:bits=2", "trellis:bits=0.1",
                               "countsketch:rows=3,keep=0.25+f32"};

Options options_with(const PrivacyOptions& privacy, std::optional<double> q = 1, std::uint32_t rounds = 1) {
  return {.seed = 4, .rounds = rounds, .client_probability = q, .privacy = privacy, .threads = 1};
}

PlanOptions plan_of(const char* plan) { return {.plan = plan, .learning_rate = 1}; }

std::vector<float> parameters_after(const Task& task, const Options& options, const PlanOptions& plan) {
  Trainer trainer(task, options, plan);
  run_all(trainer);
  EXPECT_EQ(trainer.stopped(), "");
  return {trainer.parameters().begin(), trainer.parameters().end()};
}

std::vector<std::vector<float>> random_updates(std::size_t clients, std::size_t features, double scale, std::uint64_t seed) {
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), seed}));
  std::vector<std::vector<float>> updates(clients, std::vector<float>(features));
  for (auto& update : updates)
    for (float& value : update) value = static_cast<float>(scale * (2 * random.uniform() - 1));
  return updates;
}

double distance(std::span<const float> a, std::span<const float> b) {
  std::vector<float> difference(a.begin(), a.end());
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= b[i];
  return privacy::norm_of(difference);
}

std::string refusal(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kBadArgument);
    return error.what();
  }
  return "accepted";
}

TEST(PrivateTraining, EachClientTakesPartByChanceAndIndependently) {
  constexpr std::size_t kClients = 200;
  constexpr double kProbability = 0.3;
  const std::uint32_t rounds = long_tests() ? 1000 : 100;
  const GivenUpdates given(random_updates(kClients, 4, 1, 1));
  std::vector<std::vector<std::size_t>> sizes;
  for (int repeat = 0; repeat < 2; ++repeat) {
    Trainer trainer(given.task, options_with({.clip = kNorm, .noise_multiplier = 1, .delta = 1e-3}, kProbability, rounds), plan_of("f32"));
    std::mutex mutex;
    std::map<std::uint32_t, double> taken;
    trainer.observe(kClients, [&](const ClientUpdate& update) {
      const std::lock_guard lock(mutex);
      ++taken[update.client];
    });
    double sum = 0, squares = 0;
    sizes.emplace_back();
    for (const RoundResult& round : run_all(trainer)) {
      const double off = static_cast<double>(round.asked) - kClients * kProbability;
      sum += off;
      squares += off * off;
      sizes.back().push_back(round.asked);
      EXPECT_EQ(round.clients, round.asked);
    }
    const double variance = kClients * kProbability * (1 - kProbability);
    EXPECT_NEAR(sum / rounds, 0, kErrors * std::sqrt(variance / rounds));
    // Squares of nearly normal cohorts have twice their variance's square for variance; a cohort of a fixed size would have 0 here.
    EXPECT_NEAR(squares / rounds / variance, 1, kErrors * std::sqrt(2.0 / rounds) * 1.2);
    // Of 200 clients none is off by six standard errors: a chance of 10^-6.
    for (std::uint32_t client = 0; client < kClients; ++client)
      EXPECT_NEAR(taken[client] / rounds, kProbability, 6 * std::sqrt(kProbability * (1 - kProbability) / rounds)) << client;
  }
  EXPECT_NE(sizes[0], sizes[1]);   // the seed, which is public, does not tell cohorts
}

TEST(PrivateTraining, AnEmptyCohortReleasesNoiseAndIsAccounted) {
  constexpr std::size_t kFeatures = 400;
  const GivenUpdates given(random_updates(5, kFeatures, 1, 2));
  const double q = 1e-9;
  Trainer trainer(given.task, options_with({.clip = kNorm, .noise_multiplier = 1, .delta = 1e-3}, q, 2), plan_of("f32"));
  const RoundResult round = *trainer.step();
  EXPECT_EQ(round.clients, 0u);
  EXPECT_EQ(round.upload_bytes, 0u);
  EXPECT_TRUE(std::isnan(round.loss));
  ASSERT_TRUE(round.epsilon.has_value());
  privacy::Accountant accountant;
  accountant.add(privacy::GaussianRound{q, 1});
  EXPECT_DOUBLE_EQ(*round.epsilon, accountant.spent(1e-3).epsilon);
  const double sigma = kNorm / (5 * q);
  EXPECT_NEAR(std::pow(privacy::norm_of(trainer.parameters()) / sigma, 2) / kFeatures, 1, kErrors * std::sqrt(2.0 / kFeatures));
}

// Σ w_k Δ_k / W, whoever takes part: the denominator is fixed, and the noise has mean 0.
TEST(PrivateTraining, TheMeanOfManyReleasesIsTheMeanOfAllClients) {
  constexpr std::size_t kClients = 6, kFeatures = 200;
  constexpr double kProbability = 0.4, kNoise = 0.5;
  const std::uint32_t rounds = long_tests() ? 4000 : 400;
  const auto updates = random_updates(kClients, kFeatures, 0.2, 3);   // none is clipped: norms of 1.6
  const std::vector<std::size_t> examples = {1, 2, 3, 1, 4, 1};
  for (const double cap : {0.0, 2.0}) {
    const GivenUpdates given(updates, examples);
    const std::vector<float> total =
        parameters_after(given.task, options_with({.clip = kNorm, .noise_multiplier = kNoise, .delta = 1e-3, .examples_cap = cap}, kProbability, rounds),
                         plan_of("f32"));
    double all = 0;
    std::array<double, kClients> weights{};
    for (std::size_t client = 0; client < kClients; ++client)
      all += weights[client] = cap == 0 ? 1 : std::min(static_cast<double>(examples[client]) / cap, 1.0);
    double chi = 0;
    for (std::size_t i = 0; i < kFeatures; ++i) {
      double mean = 0, variance = std::pow(kNoise * kNorm, 2);
      for (std::size_t client = 0; client < kClients; ++client) {
        const double part = weights[client] * updates[client][i];
        mean += part / all;
        variance += kProbability * (1 - kProbability) * part * part;
      }
      variance /= std::pow(kProbability * all, 2) * rounds;
      chi += std::pow(static_cast<double>(total[i]) / rounds - mean, 2) / variance;
    }
    EXPECT_NEAR(chi / kFeatures, 1, kErrors * std::sqrt(2.0 / kFeatures) * 1.4) << cap;   // coordinates have cohorts in common
  }
}

TEST(PrivateTraining, ClientsWeighByTheirExamplesUpToTheCap) {
  const auto updates = random_updates(4, 8, 0.5, 12);
  const GivenUpdates given(updates, {1, 2, 3, 9});
  const std::vector<float> mean = parameters_after(given.task, options_with({.clip = kNorm, .examples_cap = 3}), plan_of("f32"));
  for (std::size_t i = 0; i < mean.size(); ++i)
    EXPECT_NEAR(mean[i], (updates[0][i] + 2 * updates[1][i] + 3 * updates[2][i] + 3 * updates[3][i]) / 9, 1e-5);
}

TEST(PrivateTraining, RunsOfOneSeedDifferInNoise) {
  constexpr std::size_t kFeatures = 500;
  const GivenUpdates given(random_updates(10, kFeatures, 1, 4));
  const Options options = options_with({.clip = kNorm, .noise_multiplier = 0.7, .delta = 1e-3});
  const auto one = parameters_after(given.task, options, plan_of("trellis:bits=2")), other = parameters_after(given.task, options, plan_of("trellis:bits=2"));
  const double sigma = 0.7 * kNorm / 10;
  EXPECT_NEAR(std::pow(distance(one, other) / sigma, 2) / (2 * kFeatures), 1, kErrors * std::sqrt(2.0 / kFeatures));
}

// Without noise, so that what one client does is seen alone.
TEST(PrivateTraining, ALiarMovesTheModelByTheNormAtMost) {
  constexpr std::size_t kClients = 10, kFeatures = 64;
  for (const char* plan : kPlans) {
    for (const double cap : {0.0, 4.0}) {
      const double all = cap == 0 ? kClients : kClients / cap;
      const double most = kNorm * (cap == 0 ? 1 : 1 / cap) / all;
      auto updates = random_updates(kClients, kFeatures, 0.2, 5);
      // That one client is silent, whatever its update. (A plan may code zeros as something: they are compared with the others alone.)
      std::ranges::fill(updates[3], 0.0f);
      const Options options = options_with({.clip = kNorm, .examples_cap = cap});
      const std::vector<float> honest = parameters_after(GivenUpdates(updates).task, options, plan_of(plan));
      const auto moved = [&](const std::vector<float>& lie) {
        updates[3] = lie;
        return distance(parameters_after(GivenUpdates(updates).task, options, plan_of(plan)), honest);
      };
      // What floats of the mean are rounded by: a part in 2^24 of each.
      const double slack = 1e-5 * most;
      for (const double scale : {1e3, -1e3, 1e30}) {
        std::vector<float> lie = random_updates(1, kFeatures, 1, 6).front();
        for (float& value : lie) value = static_cast<float>(value * scale * kNorm);
        EXPECT_LE(moved(lie), most + slack) << plan << " " << scale;
      }
      std::vector<float> spike(kFeatures);
      spike[5] = 1e6f;
      EXPECT_LE(moved(spike), most + slack) << plan;
      for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        std::vector<float> lie(kFeatures, 1.0f);
        lie[7] = bad;
        EXPECT_EQ(moved(lie), 0) << plan << " " << bad;
      }
    }
  }
}

// A client that clips nothing: its frame holds what it likes.
TEST(PrivateTraining, NoFrameIsLongerThanTheNormInTheSum) {
  constexpr std::size_t kFeatures = 96;
  secure::SystemRandom source;
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 7}));
  std::map<std::string, int> longer;
  for (const char* plan : kPlans) {
    const Codec codec = Codec::compile(plan, Layout(kFeatures));
    for (std::uint32_t trial = 0; trial < (long_tests() ? 4000u : 400u); ++trial) {
      std::vector<float> update(kFeatures);
      const std::uint64_t kind = random.below(6);
      const double scale = std::exp2(static_cast<double>(random.below(40)) - 20);
      for (float& value : update) {
        const double u = 2 * random.uniform() - 1;
        if (kind == 0) value = random.below(kFeatures) == 0 ? static_cast<float>(scale) : 0.0f;
        if (kind == 1) value = static_cast<float>(1e6 * u);
        if (kind == 2) value = static_cast<float>(1e-44 * u);
        if (kind == 3) value = static_cast<float>(scale);
        if (kind >= 4) value = static_cast<float>(scale * u);
      }
      const bool honest = kind == 5;
      if (honest) privacy::Clipping::whole(kFeatures, kNorm).clip(update);
      const Context context{.seed = 1, .round = trial, .client = 2, .cohort = {.index = 1, .size = 10}};
      Aggregator one(codec, {1, trial, 10});
      one.add(codec.encode(update, context), {.client = 2, .cohort_index = 1});
      const std::vector<float> decoded = one.mean();
      longer[plan] += honest && privacy::norm_of(decoded) > kNorm * (1 + 1e-6) ? 1 : 0;
      privacy::PrivateSum sum(privacy::Clipping::whole(kFeatures, kNorm), 0);
      sum.add(decoded);
      EXPECT_LE(privacy::norm_of(sum.release(1, source)), kNorm * (1 + 1e-12)) << plan << ", kind " << kind;
    }
  }
  // Codecs make honest updates longer: without the second clipping the sum would be more sensitive than is accounted.
  for (const char* plan : {"natural", "ternary", "mask:keep=0.1+f32", "permk:cohort=10+f32", "dither:bits=1"}) EXPECT_GT(longer[plan], 0) << plan;
  EXPECT_EQ(longer["f32"], 0);
}

TEST(PrivateTraining, EpsilonRisesAndIsTheAccountants) {
  const GivenUpdates given(random_updates(20, 6, 1, 8));
  for (const bool adaptive : {false, true}) {
    Trainer trainer(given.task, options_with({.clip = kNorm, .adaptive = adaptive, .noise_multiplier = 0.5, .delta = 1e-3}, 0.3, 8), plan_of("f32"));
    EXPECT_EQ(trainer.noise_multiplier(), 0.5);
    privacy::Accountant accountant;
    double before = 0;
    for (const RoundResult& round : run_all(trainer)) {
      accountant.add(privacy::GaussianRound{0.3, 0.5});
      ASSERT_TRUE(round.epsilon.has_value());
      EXPECT_DOUBLE_EQ(*round.epsilon, accountant.spent(1e-3).epsilon);
      EXPECT_GT(*round.epsilon, before);
      before = *round.epsilon;
      EXPECT_TRUE(std::isnan(round.loss));
    }
  }
  Trainer silent(given.task, options_with({.clip = kNorm}), plan_of("f32"));
  EXPECT_FALSE(silent.step()->epsilon.has_value());   // clipping alone promises nothing
}

TEST(PrivateTraining, ABudgetEndsBeforeTheRoundThatWouldExceedIt) {
  const GivenUpdates given(random_updates(20, 6, 1, 9));
  const PrivacyOptions privacy{.clip = kNorm, .epsilon = 3, .delta = 1e-3};
  const Options options = options_with(privacy, 0.3, 7);
  Trainer trainer(given.task, options, plan_of("f32"));
  const std::vector<RoundResult> rounds = run_all(trainer);
  ASSERT_EQ(rounds.size(), 7u);
  EXPECT_LE(*rounds.back().epsilon, 3);
  EXPECT_GT(*rounds.back().epsilon, 2.99);   // and not much is left over

  const Codec codec = Codec::compile("f32", Layout(6));
  PrivateRounds server(privacy, options, codec, 6, given.task.clients);
  secure::SystemRandom source;
  std::uint32_t done = 0;
  while (server.exhausted().empty() && done < 20) {
    server.release(server.begin(), {}, source);
    ++done;
    EXPECT_LE(*server.epsilon(), 3);
  }
  EXPECT_EQ(done, 7u);
  EXPECT_NE(server.exhausted().find("epsilon 3"), std::string::npos) << server.exhausted();
  server.release(server.begin(), {}, source);
  EXPECT_GT(*server.epsilon(), 3);   // it was the eighth round that would have exceeded it
}

// Norms 0.5 · 1.05^k, of which the median is 5.6; b̃ stays within 0.15 of 1/2 where S is within 15 of 100 clients of it.
TEST(PrivateTraining, TheAdaptiveNormComesToTheMedian) {
  constexpr std::size_t kClients = 100;
  std::vector<std::vector<float>> updates;
  for (std::size_t client = 0; client < kClients; ++client) updates.push_back({static_cast<float>(0.5 * std::pow(1.05, client)), 0, 0});
  const GivenUpdates given(updates);
  for (const double noise : {0.0, 1.0}) {
    for (const double start : {0.3, 60.0}) {
      Trainer trainer(given.task, options_with({.clip = start, .adaptive = true, .noise_multiplier = noise, .delta = 1e-3}, 1, 80), plan_of("f32"));
      const std::vector<RoundResult> rounds = run_all(trainer);
      EXPECT_EQ(*rounds.front().clip, start);
      const double median = 0.5 * std::pow(1.05, 49.5);
      for (std::size_t i = 60; i < rounds.size(); ++i) {
        EXPECT_LT(*rounds[i].clip, median * std::pow(1.05, 15)) << i;
        EXPECT_GT(*rounds[i].clip, median / std::pow(1.05, 15)) << i;
      }
    }
  }
}

TEST(PrivateTraining, WhatCannotBeKeptIsRefusedWithTheReason) {
  const SyntheticTask synthetic;
  const PrivacyOptions sound{.clip = 1, .noise_multiplier = 1, .delta = 1e-3};
  const auto refused = [&](const auto& change) {
    Options options = options_with(sound, 0.5);
    PlanOptions plan;
    change(options, plan);
    return refusal([&] { Trainer(synthetic.task, options, plan); });
  };
  const auto says = [](const std::string& text, const char* reason) { EXPECT_NE(text.find(reason), std::string::npos) << reason << ": " << text; };
  EXPECT_EQ(refused([](Options&, PlanOptions&) {}), "accepted");
  says(refused([](Options& o, PlanOptions&) { o.client_probability.reset(), o.clients_per_round = 3; }), "cohorts of a fixed size");
  says(refused([](Options& o, PlanOptions&) { o.privacy->delta = 0; }), "delta");
  says(refused([](Options& o, PlanOptions&) { o.privacy->delta = 1; }), "delta");
  says(refused([](Options& o, PlanOptions&) { o.privacy->epsilon = 1; }), "epsilon and noise-multiplier");
  says(refused([](Options& o, PlanOptions&) { o.privacy->examples_cap = -1; }), "examples-cap");
  says(refused([](Options& o, PlanOptions&) { o.privacy->clip = 0; }), "norm to clip to");
  for (const double noise : {1000.0, -1.0, std::nan("")})
    says(refused([&](Options& o, PlanOptions&) { o.privacy->noise_multiplier = noise; }), "noise multiplier");
  says(refused([](Options& o, PlanOptions&) { o.privacy->adaptive = true, o.privacy->noise_multiplier = 2; }), "more clients");
  for (const Feedback feedback : {Feedback::kEf14, Feedback::kEf21, Feedback::kDgc, Feedback::kDiana, Feedback::kReference})
    says(refused([&](Options&, PlanOptions& p) { p.plan = "hadamard+quantize:bits=2", p.feedback = feedback; }), "what clients remember");
  says(refused([](Options&, PlanOptions& p) { p.plan = "trellis:bits=0.5,scale=profile"; }), "learns a profile from single updates");
  says(refused([](Options& o, PlanOptions& p) { o.privacy->per_tensor = true, p.plan = "train=mask:keep=0.5 | f32"; }), "structured family");
  EXPECT_EQ(refused([](Options& o, PlanOptions&) { o.privacy->per_tensor = true; }), "accepted");
  EXPECT_EQ(refused([](Options&, PlanOptions& p) { p.plan = "train=mask:keep=0.5 | f32"; }), "accepted");
  says(refused([](Options& o, PlanOptions& p) { o.privacy.reset(), p.clip = 1.0; }), "clip=");
}

TEST(PrivateTraining, GoesOnFromACheckpointWithWhatIsSpentAndItsNorm) {
  const GivenUpdates given(random_updates(60, 6, 1, 10));
  const Options options = options_with({.clip = 5, .adaptive = true, .noise_multiplier = 0.6, .delta = 1e-3}, 0.5, 6);
  Trainer first(given.task, options, plan_of("f32"));
  std::vector<double> norms;
  for (int round = 0; round < 3; ++round) norms.push_back(*first.step()->clip);
  Trainer second(given.task, options, plan_of("f32"));
  second.restore(first.save());
  EXPECT_TRUE(std::ranges::equal(first.parameters(), second.parameters()));
  const RoundResult of_first = *first.step(), of_second = *second.step();
  EXPECT_EQ(of_first.round, 4u);
  EXPECT_EQ(of_first.epsilon, of_second.epsilon);
  EXPECT_EQ(of_first.clip, of_second.clip);
  EXPECT_LT(*of_second.clip, norms.back());   // that has moved from the one it began with
  privacy::Accountant accountant;
  accountant.add(privacy::GaussianRound{0.5, 0.6}, 4);
  EXPECT_DOUBLE_EQ(*of_second.epsilon, accountant.spent(1e-3).epsilon);
  EXPECT_FALSE(std::ranges::equal(first.parameters(), second.parameters()));   // but for the noise

  Options without = options;
  without.privacy.reset();
  Trainer open(given.task, without, plan_of("f32"));
  EXPECT_THROW(open.restore(first.save()), Error);
}

// The audit on the trainer's own rounds. All others send what is opposite to the canary, client 0, which sends ten times the norm.
class Audit : public testing::Test {
 protected:
  static constexpr std::size_t kClients = 50, kFeatures = 16;

  Audit() : given_(all_updates()) {}

  static std::vector<std::vector<float>> all_updates() {
    auto updates = random_updates(1, kFeatures, 1, 11);
    const double scale = 10 * kNorm / privacy::norm_of(updates[0]);
    for (float& value : updates[0]) value = static_cast<float>(value * scale);
    updates.resize(kClients, updates[0]);
    for (std::size_t client = 1; client < kClients; ++client)
      for (float& value : updates[client]) value *= -0.2f;
    return updates;
  }

  CanaryRound round(double clip, double noise_multiplier) const {
    return {given_.task, options_with({.clip = clip, .noise_multiplier = noise_multiplier, .delta = 1e-3}), plan_of("f32"), 0};
  }

  // A sound mechanism is failed with a chance of 10^-5; half the noise at z = 2, ten standard errors off, passes with one of 10^-7.
  static privacy::AuditOptions strict() { return {.trials = long_tests() ? 4000u : 800u, .tolerance = 4.5}; }

  static privacy::AuditResult judged(const CanaryRound& canary, double z) { return canary.audit({.z = z, .q = 1, .delta = 1e-3}, strict()); }

  GivenUpdates given_;
};

TEST_F(Audit, PassesTheTrainersRounds) {
  for (const double z : {0.5, 1.0, 2.0}) {
    const CanaryRound canary = round(kNorm, z);
    EXPECT_NEAR(canary.norm(), 10 * kNorm, 1e-3);
    EXPECT_EQ(canary.claim().z, z);
    const privacy::AuditResult result = canary.audit(canary.claim(), strict());
    EXPECT_TRUE(result.passes()) << "z = " << z << ": " << result.fault;
    RecordProperty("auc_at_" + std::to_string(z), std::to_string(result.auc));
  }
}

TEST_F(Audit, FailsThemWithoutNoise) {
  for (const double z : {0.5, 1.0, 2.0}) EXPECT_FALSE(judged(round(kNorm, 0), z).passes()) << z;
}

TEST_F(Audit, FailsThemWithHalfTheNoise) {
  for (const double z : {0.5, 1.0, 2.0}) EXPECT_FALSE(judged(round(kNorm, z / 2), z).passes()) << z;
}

// Clipped to a norm that is beyond all updates, with the noise of the one that is claimed.
TEST_F(Audit, FailsThemWithoutClipping) {
  for (const double z : {0.5, 1.0, 2.0}) EXPECT_FALSE(judged(round(100 * kNorm, z / 100), z).passes()) << z;
}

TEST_F(Audit, FailsThemWithTheRealizedDenominator) {
  for (const double z : {0.5, 1.0}) {
    const CanaryRound canary = round(kNorm, z);
    const auto realized = [&](std::size_t, bool with_canary) {
      std::vector<float> mean = canary.sum(with_canary);
      for (float& value : mean) value /= static_cast<float>(with_canary ? kClients : kClients - 1);
      return mean;
    };
    EXPECT_FALSE(privacy::audit(realized, privacy::along(canary.direction()), {.z = z, .q = 1, .delta = 1e-3}, strict()).passes()) << z;
  }
}

// What a client is by chance is hidden twice.
TEST_F(Audit, PassesSampledRounds) {
  auto updates = all_updates();
  for (std::size_t client = 1; client < kClients; ++client) std::ranges::fill(updates[client], 0.0f);   // theirs are known: taken out
  const GivenUpdates alone(updates);
  const CanaryRound canary(alone.task, options_with({.clip = kNorm, .noise_multiplier = 0.5, .delta = 1e-3}, 0.4), plan_of("f32"), 0);
  const privacy::AuditResult result = canary.audit(canary.claim(), strict());
  EXPECT_NEAR(result.auc_theory, 0.5 + 0.4 * 0.4214, 1e-4);
  EXPECT_TRUE(result.passes()) << result.fault;
}

TEST(CanaryAudit, RunsOnAnyTask) {
  const SyntheticTask synthetic;
  for (const char* plan : {"f32", "trellis:bits=1"}) {
    const privacy::AuditResult result =
        audit_canary(synthetic.task, 1, {.plan = plan, .clients = 20, .audit = {.trials = 200, .tolerance = 4.5}});
    EXPECT_TRUE(result.passes()) << plan << ": " << result.fault;
    EXPECT_GT(result.auc, 0.5) << plan;
  }
  EXPECT_THROW(audit_canary(synthetic.task, 1, {.clients = 1000}), Error);
  EXPECT_THROW(audit_canary(synthetic.task, 1, {.plan = "train=mask:keep=0.5 | f32"}), Error);
}

}  // namespace
}  // namespace fewbits::federated
