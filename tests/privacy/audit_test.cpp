#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fewbits/codec.h"
#include "fewbits/error.h"
#include "fewbits/integers.h"
#include "fewbits/privacy/audit.h"
#include "fewbits/privacy/discrete_gaussian.h"
#include "fewbits/privacy/private_sum.h"
#include "tests/privacy/seeded_source.h"

// The audit passes what is sound and fails each fault that is planted. All is seeded: a test passes always, or never.
namespace fewbits::privacy {
namespace {

std::size_t trials() { return std::getenv("FEWBITS_LONG_TESTS") != nullptr ? 4000 : 400; }

constexpr std::size_t kElements = 24;
constexpr std::size_t kOthers = 9;
constexpr double kNorm = 0.5;

// A round at a server, whole or with one of the faults. All others send what is opposite to the canary, as far as they may;
// the canary sends more than it may.
struct Server {
  double claimed = 1;
  double q = 1;
  double noise = 1;                 // that is drawn, of the claimed
  bool clips = true;
  bool realized_denominator = false;

  std::vector<float> canary() const {
    std::vector<float> c(kElements);
    for (std::size_t i = 0; i < kElements; ++i) c[i] = static_cast<float>((i % 2 == 0 ? 1 : -1) / std::sqrt(double{kElements}));
    return c;
  }

  std::vector<float> round(bool with_canary, SeededSource& source, RandomReader& random) const {
    // Without clipping: the norm that is clipped to is so large that it does nothing, and the noise is as before.
    const double bound = clips ? kNorm : 100 * kNorm;
    PrivateSum sum(Clipping::whole(kElements, bound), claimed * noise * kNorm / bound);
    std::vector<float> update = canary();
    for (float& value : update) value *= static_cast<float>(-kNorm);
    for (std::size_t client = 0; client < kOthers; ++client) sum.add(update);
    for (float& value : update) value *= -50;
    const bool takes_part = with_canary && random.uniform() < q;
    if (takes_part) sum.add(update);
    return sum.release(realized_denominator ? static_cast<double>(kOthers + (takes_part ? 1 : 0)) : kOthers * q, source);
  }

  AuditResult audited(std::uint64_t seed) const {
    SeededSource source(seed);
    RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), seed, 5}));
    return audit([&](std::size_t, bool with_canary) { return round(with_canary, source, random); }, along(canary()), {claimed, q, 1e-5},
                 {.trials = trials()});
  }
};

TEST(Audit, TheoryIsTheFiguresOfGaussians) {
  EXPECT_NEAR(expected_auc(0.5), 0.9214, 1e-4);
  EXPECT_NEAR(expected_auc(1), 0.7602, 1e-4);
  EXPECT_NEAR(expected_auc(2), 0.6382, 1e-4);
  EXPECT_NEAR(expected_auc(1, 0.1), 0.5 + 0.02602, 1e-5);
}

TEST(Audit, PassesASoundMechanism) {
  for (const double z : {0.5, 1.0, 2.0}) {
    const AuditResult result = Server{.claimed = z}.audited(1);
    EXPECT_TRUE(result.passes()) << z << ": " << result.fault;
    EXPECT_NEAR(result.auc, result.auc_theory, 3 * result.auc_error);
    EXPECT_LE(result.auc_error, 0.6 / std::sqrt(static_cast<double>(trials())));
    EXPECT_LE(result.epsilon_least, result.epsilon);
  }
  for (const double q : {0.2, 0.7}) {
    const AuditResult result = Server{.claimed = 0.5, .q = q}.audited(2);
    EXPECT_TRUE(result.passes()) << q << ": " << result.fault;
    EXPECT_NEAR(result.auc_theory, 0.5 + q * 0.4214, 1e-4);
  }
}

// And hardly ever fails one: 200 audits, of which 0.3 % may be off by three standard errors.
TEST(Audit, PassesASoundMechanismAgainAndAgain) {
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 77}));
  SeededSource source(3);
  DiscreteGaussian noise(100, source);
  int failed = 0;
  for (int repeat = 0; repeat < 200; ++repeat) {
    const AuditResult result = audit([&](std::size_t, bool there) { return std::vector<float>{static_cast<float>(noise.draw() + (there ? 100 : 0))}; },
                                     along({1.0f}), {1, 1, 1e-5}, {.trials = 100});
    failed += result.passes() ? 0 : 1;
  }
  EXPECT_LE(failed, 5);
}

TEST(Audit, FailsWithoutNoise) {
  for (const double z : {0.5, 1.0, 2.0}) {
    const AuditResult result = Server{.claimed = z, .noise = 0}.audited(4);
    EXPECT_FALSE(result.passes());
    EXPECT_EQ(result.auc, 1);
  }
}

// Of 200 pairs at a threshold that errs never: rates from 0.974 on and up to 0.026 with a confidence of 0.99.
TEST(Audit, BoundsEpsilonFromBelow) {
  const AuditResult none = Server{.claimed = 2, .noise = 0}.audited(4);
  EXPECT_GT(none.epsilon_least, 3.5);
  EXPECT_GT(none.epsilon_least, none.epsilon);
  const AuditResult half = Server{.claimed = 0.5}.audited(5);
  EXPECT_GT(half.epsilon_least, 0.5);
  EXPECT_LT(half.epsilon_least, half.epsilon);
}

TEST(Audit, FailsWithHalfTheNoise) {
  for (const double z : {0.5, 1.0, 2.0}) EXPECT_FALSE((Server{.claimed = z, .noise = 0.5}.audited(6)).passes()) << z;
}

TEST(Audit, FailsWithTwiceTheNoise) {
  const AuditResult result = Server{.claimed = 1, .noise = 2}.audited(6);
  EXPECT_NE(result.fault.find("less than it should"), std::string::npos) << result.fault;
}

TEST(Audit, FailsWithoutClipping) {
  for (const double z : {0.5, 1.0, 2.0}) EXPECT_FALSE((Server{.claimed = z, .clips = false}.audited(7)).passes()) << z;
}

// The others' mean is S along −c. With one client more it is 0.9 S, and the canary adds 0.1 S: twice what it may.
TEST(Audit, FailsWithTheRealizedDenominator) {
  for (const double z : {0.5, 1.0, 2.0}) EXPECT_FALSE((Server{.claimed = z, .realized_denominator = true}.audited(8)).passes()) << z;
}

// Clients whose integers are summed. Everybody who knows the seed knows their dithers.
class Lattice : public testing::Test {
 protected:
  static constexpr double kStep = 0.01;
  static constexpr double kSigma = 200;   // steps
  static constexpr std::size_t kClients = 8;

  // Of client 0, the canary, norm 20 steps: z = 10.
  static std::vector<float> update(std::size_t client) {
    std::vector<float> values(kElements);
    RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 90 + client}));
    for (float& value : values) value = static_cast<float>(random.uniform() - 0.5);
    Clipping::whole(kElements, 20 * kStep).clip(values);
    return values;
  }

  static Integers integers(std::size_t trial) {
    return {Codec::compile("dither:scale=flat,step=0.01", Layout(kElements)), RoundContext{3, static_cast<std::uint32_t>(trial), kClients}};
  }

  static std::vector<Contribution> cohort(bool with_canary) {
    std::vector<Contribution> all;
    for (std::size_t client = with_canary ? 0 : 1; client < kClients; ++client)
      all.push_back({.client = client, .cohort_index = static_cast<std::uint32_t>(client)});
    return all;
  }

  static std::vector<std::int64_t> sum(std::size_t trial, bool with_canary) {
    std::vector<std::int64_t> sums(kElements);
    std::vector<std::int32_t> mine(kElements);
    for (const Contribution& from : cohort(with_canary)) {
      integers(trial).encode(update(from.client), from, mine);
      for (std::size_t i = 0; i < kElements; ++i) sums[i] += mine[i];
    }
    return sums;
  }

  // Sums, not means, of what these integers stand for.
  static std::vector<float> decoded(std::size_t trial, bool with_canary, const std::vector<std::int64_t>& sums) {
    std::vector<float> total = integers(trial).mean(sums, cohort(with_canary));
    for (float& value : total) value *= static_cast<float>(cohort(with_canary).size());
    return total;
  }

  // What dithers alone come to.
  static std::vector<double> places(std::size_t trial, bool with_canary) {
    const std::vector<float> zeros = decoded(trial, with_canary, std::vector<std::int64_t>(kElements));
    return {zeros.begin(), zeros.end()};
  }

  static double phase(std::size_t trial, std::span<const float> release) {
    return phase_statistic(release, kStep, places(trial, true), places(trial, false));
  }

  static AuditResult audited(const AuditedRelease& release) {
    return audit(release, phase, {.z = kSigma * kStep / (20 * kStep), .q = 1, .delta = 1e-5}, {.trials = trials(), .best_statistic = false});
  }

  SeededSource source_{9};
};

TEST_F(Lattice, FailsWithNoiseOfWholeStepsOverDither) {
  DiscreteGaussian noise(kSigma, source_);
  const AuditResult result = audited([&](std::size_t trial, bool with_canary) {
    std::vector<std::int64_t> sums = sum(trial, with_canary);
    noise.add_to(sums);
    return decoded(trial, with_canary, sums);
  });
  EXPECT_FALSE(result.passes());
  EXPECT_EQ(result.auc, 1);   // membership is read in each trial, by noise of 200 steps
  EXPECT_GT(result.epsilon_least, 10 * result.epsilon);
}

// The server's remedy: the grid of PrivateSum is common to all cohorts.
TEST_F(Lattice, PassesWithNoiseOnAFinerGrid) {
  const AuditResult result = audited([&](std::size_t trial, bool with_canary) {
    PrivateSum total(Clipping::whole(kElements, 20 * kStep), kSigma / 20);
    std::vector<std::int32_t> mine(kElements);
    for (const Contribution& from : cohort(with_canary)) {
      integers(trial).encode(update(from.client), from, mine);
      total.add(integers(trial).mean(std::vector<std::int64_t>(mine.begin(), mine.end()), {{from}}));
    }
    return total.release(1, source_);
  });
  EXPECT_TRUE(result.passes()) << result.fault;
  EXPECT_NEAR(result.auc, 0.5, 3 * result.auc_error);   // chance
}

// The clients' remedy: they round by secrets of their own, so that the sum is of whole steps whoever takes part.
TEST_F(Lattice, PassesWithPrivateRounding) {
  DiscreteGaussian noise(kSigma, source_);
  RandomReader secret(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 91}));
  const AuditResult result = audited([&](std::size_t, bool with_canary) {
    std::vector<std::int64_t> sums(kElements);
    for (const Contribution& from : cohort(with_canary)) {
      const std::vector<float> values = update(from.client);
      for (std::size_t i = 0; i < kElements; ++i) sums[i] += static_cast<std::int64_t>(std::floor(values[i] / kStep + secret.uniform()));
    }
    noise.add_to(sums);
    std::vector<float> total(kElements);
    for (std::size_t i = 0; i < kElements; ++i) total[i] = static_cast<float>(static_cast<double>(sums[i]) * kStep);
    return total;
  });
  EXPECT_TRUE(result.passes()) << result.fault;
  EXPECT_NEAR(result.auc, 0.5, 3 * result.auc_error);
}

TEST(Audit, CountsTiesAsHalf) {
  const std::vector<double> same(30, 1.0);
  EXPECT_EQ(judge_audit(same, same, {1, 1, 1e-5}).auc, 0.5);
}

// The standard error is what a hundred audits spread by, also of pairs that have most of their noise in common.
TEST(Audit, KnowsItsError) {
  for (const double common : {0.0, 3.0}) {
    SeededSource source(10);
    DiscreteGaussian noise(1000, source);
    double sum = 0, squares = 0, errors = 0;
    constexpr int kAudits = 100;
    for (int repeat = 0; repeat < kAudits; ++repeat) {
      std::vector<double> with(100), without(100);
      for (std::size_t i = 0; i < with.size(); ++i) {
        const double shared = common * static_cast<double>(noise.draw());
        with[i] = 1000 + shared + static_cast<double>(noise.draw());
        without[i] = shared + static_cast<double>(noise.draw());
      }
      const AuditResult result = judge_audit(with, without, {1, 1, 1e-5});
      sum += result.auc;
      squares += result.auc * result.auc;
      errors += result.auc_error / kAudits;
    }
    const double spread = std::sqrt((squares - sum * sum / kAudits) / (kAudits - 1));
    EXPECT_NEAR(errors / spread, 1, 5 / std::sqrt(2.0 * kAudits)) << common;
  }
}

TEST(Audit, RefusesWhatIsOutOfRange) {
  const std::vector<double> few(19, 1.0), some(20, 1.0), more(21, 1.0);
  const std::vector<double> bad(20, std::nan(""));
  EXPECT_THROW(judge_audit(few, few, {1, 1, 1e-5}), Error);
  EXPECT_THROW(judge_audit(some, more, {1, 1, 1e-5}), Error);
  EXPECT_THROW(judge_audit(some, bad, {1, 1, 1e-5}), Error);
  for (const AuditClaim claim : {AuditClaim{0, 1, 1e-5}, {-1, 1, 1e-5}, {1, 0, 1e-5}, {1, 1.1, 1e-5}, {1, 1, 0}, {1, 1, 1}, {std::nan(""), 1, 1e-5}})
    EXPECT_THROW(judge_audit(some, some, claim), Error);
  EXPECT_THROW(judge_audit(some, some, {1, 1, 1e-5}, {.confidence = 1}), Error);
  EXPECT_THROW(along({1, 2})(0, std::vector<float>{1}), Error);
}

}  // namespace
}  // namespace fewbits::privacy
