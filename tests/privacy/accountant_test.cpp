#include "fewbits/privacy/accountant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "fewbits/error.h"

namespace fewbits::privacy {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

PrivacySpent spent(double q, double z, std::uint64_t rounds, double delta, Accounting by = Accounting::kPld) {
  return Accountant(by).spent_with(GaussianRound{q, z}, delta, rounds);
}

struct Row {
  double q, z;
  std::uint64_t rounds;
  double delta, epsilon_rdp, order, epsilon;
};

// Exact divergences at renyi_orders(), worked out apart from this library; the last column is dp-accounting's.
const std::vector<Row> kTable = {
    {0.01, 1.1, 10000, 1e-5, 5.6320, 4.7, 5.193}, {256.0 / 60000, 1.1, 14062, 1e-5, 2.5966, 8.1, 2.382},
    {0.04, 1.5, 2250, 1e-5, 7.3291, 3.9, 6.769},  {0.01, 0.7, 1000, 1e-5, 5.4214, 3.6, 4.618},
    {0.01, 1.0, 1000, 1e-5, 2.1014, 7.8, 1.828},  {0.02, 0.8, 500, 1e-5, 5.3701, 3.8, 4.668},
    {0.1, 1.0, 100, 1e-3, 5.6405, 2.8, 4.784},    {0.1, 2.0, 300, 1e-6, 5.0821, 5.6, 4.713},
    {0.05, 1.5, 500, 1e-4, 3.6081, 5.1, 3.237},   {0.001, 0.7, 5000, 1e-6, 2.2908, 6.3, 1.381},
    {0.001, 0.5, 1000, 1e-6, 5.3291, 3.5, 4.235}, {0.0001, 0.6, 2000, 1e-9, 3.2023, 6.7, 1.540},
    {0.5, 3, 50, 1e-5, 6.1096, 4.4, 5.626},       {1, 10, 100, 1e-5, 4.7285, 5.4, 4.377},
};

TEST(Renyi, TableOfExactValues) {
  for (const Row& row : kTable) {
    const PrivacySpent found = spent(row.q, row.z, row.rounds, row.delta);
    EXPECT_NEAR(found.epsilon_rdp, row.epsilon_rdp, 6e-5) << row.q << " " << row.z;
    EXPECT_DOUBLE_EQ(found.order, row.order) << row.q << " " << row.z;
    const PrivacySpent alone = spent(row.q, row.z, row.rounds, row.delta, Accounting::kRdp);
    EXPECT_EQ(alone.epsilon, found.epsilon_rdp);
    EXPECT_EQ(alone.accounting, Accounting::kRdp);
  }
}

// Opacus' and TensorFlow Privacy's own tests.
TEST(Renyi, PublishedValues) {
  EXPECT_NEAR(spent(0.04, 1.5, 2250, 1e-5).epsilon_rdp, 7.32911117, 1e-7);
  const PrivacySpent first = spent(0.0025, 1.3, 6000, 1e-5), second = spent(0.001, 1, 30000, 1e-7);
  EXPECT_NEAR(first.epsilon_rdp, 0.72422340, 1e-8);
  EXPECT_EQ(first.order, 19);
  EXPECT_NEAR(second.epsilon_rdp, 1.41549885, 1e-8);
  EXPECT_EQ(second.order, 13);
  // The tutorial's 3.01 is of the older conversion, rdp - ln(delta)/(order - 1).
  double least = kInfinity;
  for (const double order : renyi_orders())
    least = std::min(least, 14062 * renyi_divergence(GaussianRound{256.0 / 60000, 1.1}, order) - std::log(1e-5) / (order - 1));
  EXPECT_NEAR(least, 3.0083, 5e-5);
  std::vector<double> orders, divergences;
  for (double order = 1.001; order < 100; order += 0.001) {
    orders.push_back(order);
    divergences.push_back(renyi_divergence(GaussianRound{1, 4.530877117}, order));
  }
  EXPECT_NEAR(epsilon_from_renyi(orders, divergences, 1e-6).epsilon, 1, 1e-4);
}

// dp-accounting's test; its value at 1.5 drops signs, 6.7058e-4.
TEST(Renyi, DivergencesAtOrders) {
  const GaussianRound round{0.01, 2.5};
  const auto fifty = [&](double order) { return 50 * renyi_divergence(round, order); };
  EXPECT_NEAR(fifty(1.5), 6.5007e-4, 5e-9);
  EXPECT_NEAR(fifty(2.5), 1.0854e-3, 5e-8);
  EXPECT_NEAR(fifty(5), 2.18076e-3, 5e-9);
  EXPECT_NEAR(fifty(50), 2.38460e-2, 5e-7);
  EXPECT_NEAR(fifty(100), 1.67416e2, 5e-4);
}

// Two ways to one number: the sum over k, and the integral beside it.
TEST(Renyi, IntegralMeetsSumAtIntegers) {
  for (const double q : {1e-6, 1e-3, 0.1, 0.5, 0.99})
    for (const double z : {0.05, 0.2, 0.7, 1.0, 3.0, 50.0, 1e5})
      for (const double order : {2.0, 3.0, 10.0, 60.0}) {
        const double sum = renyi_divergence(GaussianRound{q, z}, order);
        const double below = renyi_divergence(GaussianRound{q, z}, order * (1 - 1e-9));
        EXPECT_NEAR(below / sum, 1, 1e-6) << q << " " << z << " " << order;
      }
}

// Where a round says next to nothing: order/2 q^2 (exp(1/z^2) - 1), far below the rounding error of the moment itself.
TEST(Renyi, TinyDivergencesAreExact) {
  for (const double order : {1.1, 2.0, 2.5, 7.0, 63.0}) {
    const double q = 1e-7, z = 30;
    EXPECT_NEAR(renyi_divergence(GaussianRound{q, z}, order) / (order / 2 * q * q * std::expm1(1 / (z * z))), 1, 1e-5) << order;
  }
}

TEST(Renyi, WithoutSamplingItIsTheClosedForm) {
  for (const double order : {1.1, 2.0, 33.3}) {
    EXPECT_DOUBLE_EQ(renyi_divergence(GaussianRound{1, 2}, order), order / 8);
    EXPECT_NEAR(renyi_divergence(GaussianRound{1 - 1e-13, 2}, order), order / 8, 1e-9);
  }
}

TEST(Renyi, ConversionIsZeroWhereTotalVariationSaysSo) {
  const std::vector<double> orders = {2};
  EXPECT_EQ(epsilon_from_renyi(orders, std::vector<double>{1e-5}, 0.01).epsilon, 0);
  EXPECT_GT(epsilon_from_renyi(orders, std::vector<double>{2e-4}, 0.01).epsilon, 0);
  EXPECT_NEAR(epsilon_from_renyi(orders, std::vector<double>{1}, 1e-3).epsilon, 1 + std::log(0.5) - std::log(2e-3), 1e-12);
  EXPECT_EQ(epsilon_from_renyi(orders, std::vector<double>{kInfinity}, 0.01).epsilon, kInfinity);
  EXPECT_THROW(epsilon_from_renyi(orders, std::vector<double>{1, 2}, 0.01), Error);
}

TEST(PrivacyLoss, TableWithinAPercent) {
  for (const Row& row : kTable) {
    const PrivacySpent found = spent(row.q, row.z, row.rounds, row.delta);
    EXPECT_EQ(found.accounting, Accounting::kPld);
    EXPECT_GE(found.epsilon, row.epsilon - 6e-4) << row.q << " " << row.z;  // the table has rounded digits
    EXPECT_LE(found.epsilon, row.epsilon * 1.01) << row.q << " " << row.z;
  }
}

double upper_tail(double x) { return 0.5 * std::erfc(x / std::sqrt(2.0)); }

// Of one round, by its closed form, for a client that is removed; adding one gives less.
double one_round_delta(double q, double z, double epsilon) {
  const double u = std::log((std::exp(epsilon) - 1 + q) / q), x = z * z * u + 0.5;
  return (1 - q) * upper_tail(x / z) + q * upper_tail((x - 1) / z) - std::exp(epsilon) * upper_tail(x / z);
}

TEST(PrivacyLoss, OneRoundIsItsClosedForm) {
  for (const double q : {0.001, 0.01, 0.3, 0.9})
    for (const double z : {0.4, 1.0, 3.0})
      for (const double delta : {1e-3, 1e-5, 1e-8, 1e-12}) {
        const double found = spent(q, z, 1, delta).epsilon;
        if (one_round_delta(q, z, 0) <= delta) {
          EXPECT_LE(found, 1e-3);
          continue;
        }
        double low = 0, high = 100;
        for (int i = 0; i < 100; ++i) (one_round_delta(q, z, (low + high) / 2) > delta ? low : high) = (low + high) / 2;
        EXPECT_GE(found, low - 1e-9) << q << " " << z << " " << delta;
        EXPECT_LE(found, low * 1.002 + 1e-4) << q << " " << z << " " << delta;
      }
}

// All rounds without sampling are one, and nearly so with q just below one, which takes the way of the tables.
TEST(PrivacyLoss, GaussianRoundsMeetTheClosedForm) {
  for (const double delta : {1e-2, 1e-5, 1e-12})
    for (const std::uint64_t rounds : {std::uint64_t{1}, std::uint64_t{100}, std::uint64_t{1000000}}) {
      const double z = 0.7 * std::sqrt(static_cast<double>(rounds));
      const double closed = spent(1, z, rounds, delta).epsilon;
      EXPECT_NEAR(closed, spent(1, 0.7, 1, delta).epsilon, 1e-9);
      const double tables = spent(1 - 1e-12, z, rounds, delta).epsilon;
      EXPECT_GE(tables, closed - 1e-6) << rounds << " " << delta;
      EXPECT_LE(tables, closed * 1.001) << rounds << " " << delta;
      const double a = 0.5 / 0.7 - closed * 0.7, b = -0.5 / 0.7 - closed * 0.7;
      EXPECT_NEAR((upper_tail(-a) - std::exp(closed) * upper_tail(-b)) / delta, 1, 1e-8);
    }
  // The series of the far tail.
  EXPECT_NEAR(spent(1, 1.0 / 59, 1, 1e-5).epsilon / spent(1, 1.0 / 61, 1, 1e-5).epsilon, 59.0 * 59 / 61 / 61, 5e-3);
}

TEST(PrivacyLoss, NeverAboveRenyi) {
  for (const double q : {1e-4, 0.03, 1.0})
    for (const double z : {0.4, 1.0, 100.0})
      for (const std::uint64_t rounds : {std::uint64_t{1}, std::uint64_t{300}, std::uint64_t{1000000}})
        for (const double delta : {1e-12, 1e-5, 0.1}) {
          const PrivacySpent found = spent(q, z, rounds, delta);
          EXPECT_LE(found.epsilon, found.epsilon_rdp);
          // No table has fallen to nothing.
          EXPECT_GE(found.epsilon, 0.3 * found.epsilon_rdp - 2) << q << " " << z << " " << rounds << " " << delta;
        }
}

TEST(PrivacyLoss, ExtremesAreBounded) {
  // A client that takes part is laid bare, and does so with more chance than delta.
  for (const std::uint64_t rounds : {std::uint64_t{1}, std::uint64_t{3}, std::uint64_t{100}})
    EXPECT_GT(spent(0.01, 0.01, rounds, 1e-5).epsilon, 5000);
  EXPECT_EQ(spent(1e-6, 0.01, 1, 1e-5).epsilon, 0);  // and here with less
  EXPECT_LT(spent(1e-3, 1e6, 1000000, 1e-12).epsilon, 1e-5);
  EXPECT_GT(spent(1, 1e-3, 1, 1e-5).epsilon, 5e5);
  EXPECT_NEAR(spent(0.1, 100, 1000000, 1e-12).epsilon, spent(1, 1, 1, 1e-12).epsilon, 0.05);  // the central limit
}

TEST(Accounting, MonotoneInEverything) {
  const double delta = 1e-5;
  for (const Accounting by : {Accounting::kPld, Accounting::kRdp}) {
    double last = 0;
    for (double q = 0.001; q <= 1; q *= 1.9) {
      const double now = spent(q, 1.2, 200, delta, by).epsilon;
      EXPECT_GT(now, last) << q;
      last = now;
    }
    last = kInfinity;
    for (double z = 0.3; z < 40; z *= 1.4) {
      const double now = spent(0.02, z, 200, delta, by).epsilon;
      EXPECT_LT(now, last) << z;
      last = now;
    }
    last = 0;
    for (std::uint64_t rounds = 1; rounds < 2000000; rounds *= 3) {
      const double now = spent(0.02, 1, rounds, delta, by).epsilon;
      EXPECT_GT(now, last) << rounds;
      last = now;
    }
    last = 0;
    for (double d = 0.01; d > 1e-12; d /= 7) {
      const double now = spent(0.02, 1, 500, d, by).epsilon;
      EXPECT_GT(now, last) << d;
      last = now;
    }
  }
}

TEST(Accountant, UnequalRoundsAddUp) {
  Accountant accountant;
  EXPECT_EQ(accountant.spent(1e-5).epsilon, 0);
  for (int i = 0; i < 10; ++i) {
    accountant.add(GaussianRound{0.01, 1.1}, 100);
    accountant.add(GaussianRound{0.02, 1.3}, 50);
    accountant.add(GaussianRound{1, 20});
  }
  EXPECT_EQ(accountant.rounds(), 1510u);
  ASSERT_EQ(accountant.history().size(), 3u);
  EXPECT_EQ(accountant.history()[1].first, RoundMechanism(GaussianRound{0.02, 1.3}));
  EXPECT_EQ(accountant.history()[1].second, 500u);
  const double found = accountant.spent(1e-5).epsilon;
  EXPECT_GE(found, 2.39939 - 1e-4);  // dp-accounting's
  EXPECT_LE(found, 2.39939 * 1.005);

  Accountant restored;
  for (const auto& [round, count] : accountant.history()) restored.add(round, count);
  EXPECT_EQ(restored.spent(1e-5).epsilon, found);

  // Two kinds that hardly differ are as good as one.
  Accountant two;
  two.add(GaussianRound{0.01, 1.1}, 600);
  two.add(GaussianRound{0.01, 1.1 + 1e-9}, 400);
  EXPECT_NEAR(two.spent(1e-5).epsilon, spent(0.01, 1.1, 1000, 1e-5).epsilon, 1e-6);
  EXPECT_NEAR(two.spent(1e-5).epsilon_rdp, spent(0.01, 1.1, 1000, 1e-5).epsilon_rdp, 1e-6);
}

TEST(Accountant, VeryManyKindsAreBoundedFromAbove) {
  Accountant many;
  for (int i = 0; i < 200; ++i) many.add(GaussianRound{0.02 - 2e-5 * i, 1 + 0.001 * i});
  EXPECT_EQ(many.history().size(), 200u);
  const double found = many.spent(1e-5).epsilon;
  EXPECT_GE(found, 1.42007 - 1e-4);  // dp-accounting's, of all 200
  EXPECT_LE(found, 1.42007 * 1.02);
  Accountant by_q;
  for (int i = 0; i < 40; ++i) by_q.add(GaussianRound{0.005 + 2.5e-4 * i, 1.5}, 5);
  EXPECT_GE(by_q.spent(1e-5).epsilon, 0.425317 - 1e-5);
  EXPECT_LE(by_q.spent(1e-5).epsilon, 0.425317 * 1.02);
}

TEST(Accountant, StopsBeforeTheRoundThatExceeds) {
  const GaussianRound round{0.05, 1};
  const double budget = 2, delta = 1e-5;
  for (const Accounting by : {Accounting::kPld, Accounting::kRdp}) {
    Accountant accountant(by);
    while (!accountant.would_exceed(round, budget, delta)) accountant.add(round);
    EXPECT_LE(accountant.spent(delta).epsilon, budget);
    EXPECT_GT(accountant.spent_with(round, delta).epsilon, budget);
    EXPECT_EQ(accountant.rounds(), rounds_for(round, budget, delta, by));
    EXPECT_FALSE(accountant.would_exceed(GaussianRound{1e-6, 1000}, budget, delta));  // a smaller one may fit
    EXPECT_TRUE(accountant.would_exceed(GaussianRound{1, 0.1}, budget, delta));
  }
}

TEST(Inverse, NoiseGivesTheBudgetBack) {
  for (const Accounting by : {Accounting::kPld, Accounting::kRdp})
    for (const double q : {0.002, 0.05, 1.0})
      for (const std::uint64_t rounds : {std::uint64_t{1}, std::uint64_t{20000}})
        for (const double epsilon : {0.2, 3.0}) {
          const double z = noise_for(q, rounds, epsilon, 1e-6, by);
          const double back = spent(q, z, rounds, 1e-6, by).epsilon;
          EXPECT_LE(back, epsilon) << q << " " << rounds;
          EXPECT_NEAR(back / epsilon, 1, 1e-4) << q << " " << rounds << " " << epsilon;
        }
  EXPECT_LT(noise_for(0.02, 500, 1, 1e-6), noise_for(0.02, 500, 1, 1e-6, Accounting::kRdp));
  EXPECT_EQ(noise_for(1e-6, 1, 1, 1e-5), 0.01);  // who takes part less often than delta needs none
}

TEST(Inverse, RoundsAreTheMost) {
  for (const Accounting by : {Accounting::kPld, Accounting::kRdp})
    for (const double z : {0.7, 1.5, 20.0}) {
      const GaussianRound round{0.01, z};
      const std::uint64_t rounds = rounds_for(round, 3, 1e-6, by);
      ASSERT_GT(rounds, 0u);
      EXPECT_LE(spent(round.q, z, rounds, 1e-6, by).epsilon, 3);
      EXPECT_GT(spent(round.q, z, rounds + 1, 1e-6, by).epsilon, 3);
    }
  EXPECT_EQ(rounds_for(GaussianRound{1, 0.5}, 1, 1e-5), 0u);
  EXPECT_EQ(rounds_for(GaussianRound{1e-6, 1e4}, 1, 1e-5), kMostRounds);
}

// Written down from the papers a second time, in Python, without taking anything out of the sums.
TEST(Distributed, FormulasOfThePapers) {
  const auto near = [](const RoundMechanism& round, double order, double expected) {
    EXPECT_NEAR(renyi_divergence(round, order) / expected, 1, 1e-10) << order;
  };
  near(DiscreteGaussianRound{1, 10, 0.5, 4, 16}, 2, 43.925205107948315);  // the first of the three forms
  near(DiscreteGaussianRound{1, 10, 0.5, 4, 16}, 16, 88.72520510794831);
  near(DiscreteGaussianRound{1, 10, 0.8, 20, 1000000}, 4, 1134.5488569072036);  // the second
  near(DiscreteGaussianRound{1, 10, 0.62, 2, 10000}, 4, 3435.0317104493165);
  near(DiscreteGaussianRound{0.1, 100, 0.7, 30, 100}, 4, 53.17221841866928);
  near(DiscreteGaussianRound{0.1, 10, 3, 5, 1000}, 2, 0.0031968126294624755);
  near(DiscreteGaussianRound{0.1, 10, 3, 5, 1000}, 16, 0.1295108153731109);
  near(SkellamRound{1, 400, 10, 1000}, 4, 0.50203125);
  near(SkellamRound{1, 0.5, 3, 100}, 4, 63);
  near(SkellamRound{0.05, 400, 10, 1000}, 2, 0.0007143256777299434);
  near(SkellamRound{0.05, 400, 10, 1000}, 16, 0.02022182842918707);
}

TEST(Distributed, FineLatticesAreGaussian) {
  for (const double order : {2.0, 5.0, 63.0}) {
    const double gaussian = renyi_divergence(GaussianRound{1, 4}, order);
    EXPECT_NEAR(renyi_divergence(DiscreteGaussianRound{1, 100, 400, 1000, 1 << 20}, order), gaussian, 1e-9);
    EXPECT_NEAR(renyi_divergence(SkellamRound{1, 16e12, 1e6, 1 << 20}, order), gaussian, 1e-4);
    EXPECT_GE(renyi_divergence(DiscreteGaussianRound{0.01, 100, 400, 1000, 1 << 20}, order),
              renyi_divergence(GaussianRound{0.01, 4}, order));
  }
  // Third of the three forms: few coordinates, and norms that are large beside tau.
  const double s2 = 200 / (2 * 0.4),
               tau = 10 * (std::exp(-2 * M_PI * M_PI * 0.16 / 2) + std::exp(-2 * M_PI * M_PI * 0.16 * 2 / 3) +
                           std::exp(-2 * M_PI * M_PI * 0.16 * 3 / 4));
  EXPECT_LE(renyi_divergence(DiscreteGaussianRound{1, 4, 0.4, 200, 1}, 2), (s2 + tau) * (s2 + tau));
}

// Noise of clients that is many steps wide is accounted as a server's; the Rényi bound of sampled rounds is far above it.
TEST(Distributed, ManyStepsOfNoiseAreAGaussians) {
  const DiscreteGaussianRound round{0.05, 50, 40, 200, 1 << 20};
  Accountant clients, server;
  clients.add(round, 60);
  server.add(GaussianRound{0.05, std::sqrt(50.0) * 40 / 200}, 60);
  const PrivacySpent spent = clients.spent(1e-5);
  EXPECT_EQ(spent.accounting, Accounting::kPld);
  EXPECT_NEAR(spent.epsilon, server.spent(1e-5).epsilon, 1e-6);
  EXPECT_GT(spent.epsilon_rdp, 1.2 * spent.epsilon);
  // Not where the sum is of few steps, or the clients' parts are so coarse that their sum is none, in as many coordinates.
  for (const DiscreteGaussianRound& coarse : {DiscreteGaussianRound{0.05, 10, 1.2, 6, 1}, DiscreteGaussianRound{0.05, 1000, 1.1, 100, 1 << 20}}) {
    Accountant accountant;
    accountant.add(coarse);
    EXPECT_EQ(accountant.spent(1e-5).accounting, Accounting::kRdp);
  }
}

TEST(Distributed, TheLossDistributionDoesNotApplyToFewSteps) {
  const DiscreteGaussianRound round{0.1, 10, 1, 5, 1000};
  Accountant accountant(Accounting::kPld);
  accountant.add(GaussianRound{0.1, 2}, 10);
  EXPECT_EQ(accountant.spent(1e-5).accounting, Accounting::kPld);
  accountant.add(round, 10);
  const PrivacySpent both = accountant.spent(1e-5);
  EXPECT_EQ(both.accounting, Accounting::kRdp);
  EXPECT_EQ(both.epsilon, both.epsilon_rdp);
  EXPECT_EQ(both.order, std::floor(both.order));  // sampled: integers alone
  EXPECT_EQ(renyi_divergence(round, 2.5), kInfinity);
  EXPECT_EQ(renyi_divergence(SkellamRound{1, 400, 10, 1000}, 2.5), kInfinity);
  const DiscreteGaussianRound finer{0.1, 10, 3, 5, 1000};
  EXPECT_GT(rounds_for(finer, 5, 1e-5), 0u);
  // The amplification of sampling, and none without.
  EXPECT_LT(renyi_divergence(finer, 4), 0.1 * renyi_divergence(DiscreteGaussianRound{1, 10, 3, 5, 1000}, 4));
}

TEST(Refused, WhatIsOutOfRange) {
  const auto refused = [](auto&& call, const char* words) {
    try {
      call();
      ADD_FAILURE() << "taken: " << words;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadArgument);
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  };
  Accountant accountant;
  for (const double z : {0.0, -1.0, kNan, kInfinity}) refused([&] { accountant.add(GaussianRound{0.1, z}); }, "noise multiplier");
  for (const double q : {0.0, -0.1, 1.0000001, kNan}) {
    refused([&] { accountant.add(GaussianRound{q, 1}); }, "chance of a client");
    refused([&] { noise_for(q, 1, 1, 1e-5); }, "chance of a client");
    refused([&] { renyi_divergence(SkellamRound{q, 1, 1, 1}, 2); }, "chance of a client");
  }
  for (const double delta : {0.0, 1.0, -1e-5, kNan}) {
    refused([&] { accountant.spent(delta); }, "delta is in (0, 1)");
    refused([&] { accountant.would_exceed(GaussianRound{0.1, 1}, 1, delta); }, "delta is in (0, 1)");
  }
  for (const double epsilon : {0.0, -1.0, kNan, kInfinity}) {
    refused([&] { noise_for(0.1, 1, epsilon, 1e-5); }, "budget of epsilon");
    refused([&] { rounds_for(GaussianRound{0.1, 1}, epsilon, 1e-5); }, "budget of epsilon");
    refused([&] { accountant.would_exceed(GaussianRound{0.1, 1}, epsilon, 1e-5); }, "budget of epsilon");
  }
  for (const double order : {1.0, 0.0, kNan, kInfinity})
    refused([&] { renyi_divergence(GaussianRound{0.1, 1}, order); }, "order");
  refused([&] { accountant.add(GaussianRound{0.1, 1}, kMostRounds + 1); }, "at most 1000000000 rounds");
  refused([&] { noise_for(0.1, 0, 1, 1e-5); }, "at least one");
  refused([&] { accountant.add(DiscreteGaussianRound{0.1, 0, 1, 1, 1}); }, "a client and a dimension");
  refused([&] { accountant.add(DiscreteGaussianRound{0.1, 1, 0, 1, 1}); }, "sigma");
  refused([&] { accountant.add(SkellamRound{0.1, 1, kNan, 1}); }, "l2");
  refused([&] { accountant.add(SkellamRound{0.1, 1, 1, 0}); }, "dimension");
  EXPECT_EQ(accountant.rounds(), 0u);
}

}  // namespace
}  // namespace fewbits::privacy
