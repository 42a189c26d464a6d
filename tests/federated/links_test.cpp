#include "fewbits/federated/links.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "fewbits/error.h"

namespace fewbits::federated {
namespace {

namespace fs = std::filesystem;

// All draws have fixed seeds. Statistics are within 5 standard deviations of what correct code has: it would fail one
// of them with probability 6e-7.
constexpr double kDeviations = 5;
constexpr std::uint32_t kDraws = 40000;
constexpr std::uint64_t kSeed = 20250102;

void expect_rate(double count, double draws, double chance, const std::string& what) {
  EXPECT_NEAR(count / draws, chance, kDeviations * std::sqrt(chance * (1 - chance) / draws)) << what;
}

// Of `values`, which must be normal: centre, spread, and the shape at one and two standard deviations.
void expect_normal(const std::vector<double>& values, double mean, double deviation, const std::string& what) {
  const auto draws = static_cast<double>(values.size());
  const auto below = [&](double z) {
    return static_cast<double>(std::ranges::count_if(values, [&](double x) { return x < mean + z * deviation; }));
  };
  for (const double z : {-2.0, -1.0, 0.0, 1.0, 2.0}) {
    expect_rate(below(z), draws, std::erfc(-z / std::sqrt(2.0)) / 2, what + " at " + std::to_string(z));
  }
  double squares = 0;
  for (const double x : values) squares += (x - mean) * (x - mean);
  const double variance = deviation * deviation;
  EXPECT_NEAR(squares / draws, variance, kDeviations * variance * std::sqrt(2 / draws)) << what;
}

void expect_uncorrelated(const std::vector<double>& x, const std::vector<double>& y, const std::string& what) {
  const auto draws = static_cast<double>(x.size());
  double xy = 0, xx = 0, yy = 0, x_mean = 0, y_mean = 0;
  for (std::size_t i = 0; i < x.size(); ++i) x_mean += x[i] / draws, y_mean += y[i] / draws;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - x_mean) * (y[i] - y_mean);
    xx += (x[i] - x_mean) * (x[i] - x_mean);
    yy += (y[i] - y_mean) * (y[i] - y_mean);
  }
  EXPECT_NEAR(xy / std::sqrt(xx * yy), 0, kDeviations / std::sqrt(draws)) << what;
}

// Speeds of 1e6 and 1e7 bytes a second, half a second a transfer, 2 ms an example.
LinkOptions round_numbers() {
  LinkOptions options;
  options.upload_mbit = 8;
  options.download_mbit = 80;
  options.latency = 0.5;
  options.example_ms = 2;
  options.spread = 0;
  return options;
}

auto values_of(const Link& link) {
  return std::tuple(link.upload, link.download, link.latency, link.seconds_an_example);
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kBadArgument) << error.what();
    return error.what();
  }
  return "nothing was refused";
}

TEST(Links, ClientsAreLogNormalAroundTheMediansAndTheirQuantitiesIndependent) {
  LinkOptions options;
  options.upload_mbit = 2;
  options.download_mbit = 20;
  options.latency = 0.05;
  options.example_ms = 3;
  options.spread = 0.9;
  const Links links(options, kSeed);
  std::vector<std::vector<double>> logs(4);
  for (std::uint32_t client = 0; client < kDraws; ++client) {
    const Link link = links.link(client);
    logs[0].push_back(std::log(link.upload));
    logs[1].push_back(std::log(link.download));
    logs[2].push_back(std::log(link.latency));
    logs[3].push_back(std::log(link.seconds_an_example));
  }
  expect_normal(logs[0], std::log(2e6 / 8), 0.9, "upload");
  expect_normal(logs[1], std::log(20e6 / 8), 0.9, "download");
  expect_normal(logs[2], std::log(0.05), 0.9, "latency");
  expect_normal(logs[3], std::log(3e-3), 0.9, "example");
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t j = 0; j < i; ++j) expect_uncorrelated(logs[i], logs[j], std::to_string(i) + std::to_string(j));
  }
}

TEST(Links, DefaultsAreThoseOfTheOptions) {
  LinkOptions options;
  options.spread = 0;
  const Link link = Links(options, 1).link(3'000'000'000u);
  EXPECT_EQ(values_of(link), std::tuple(125000.0, 1250000.0, 0.1, 0.001));
}

TEST(Links, AwayAndLostHaveTheirChancesInEveryRoundAndAreIndependent) {
  LinkOptions options;
  options.away = 0.2;
  options.lost = 0.1;
  const Links links(options, kSeed);
  constexpr std::uint32_t kRounds = 100, kClients = kDraws / kRounds;
  double away = 0, lost = 0, both = 0, away_again = 0, lost_again = 0;
  for (std::uint32_t round = 1; round <= kRounds; ++round) {
    for (std::uint32_t client = 0; client < kClients; ++client) {
      const bool is_away = links.away(round, client), is_lost = links.deliver(round, client, {}, 1000).lost;
      away += is_away;
      lost += is_lost;
      both += is_away && is_lost;
      away_again += is_away && links.away(round + 1, client);
      lost_again += is_lost && links.deliver(round + 1, client, {}, 1000).lost;
    }
  }
  expect_rate(away, kDraws, 0.2, "away");
  expect_rate(lost, kDraws, 0.1, "lost");
  expect_rate(both, kDraws, 0.02, "both");
  expect_rate(away_again, kDraws, 0.04, "away twice");
  expect_rate(lost_again, kDraws, 0.01, "lost twice");
}

TEST(Links, ChancesOfNoneAndAllAreExact) {
  LinkOptions options;
  const Links never(options, kSeed);
  options.away = options.lost = 1;
  const Links always(options, kSeed);
  for (std::uint32_t client = 0; client < 1000; ++client) {
    EXPECT_FALSE(never.away(1, client) || never.deliver(1, client, {}, 10).lost);
    EXPECT_TRUE(always.away(1, client) && always.deliver(1, client, {}, 10).lost);
  }
}

TEST(Links, ADeliveryIsDownloadComputingAndUploadWithALatencyEach) {
  const Links links(round_numbers(), 1);
  const Delivery delivery = links.deliver(1, 5, {.download_bytes = 4'000'000, .examples = 600}, 250'000);
  EXPECT_DOUBLE_EQ(delivery.arrival, (0.5 + 0.4) + 1.2 + (0.5 + 0.25));
  EXPECT_EQ(delivery.client, 5u);
  EXPECT_EQ(delivery.bytes_sent, 250'000u);
  EXPECT_FALSE(delivery.lost);
  EXPECT_DOUBLE_EQ(links.deliver(1, 5, {}, 0).arrival, 1);
  EXPECT_DOUBLE_EQ(links.deliver(1, 5, {.download_bytes = 10'000'000}, 0).arrival, 2);
  EXPECT_DOUBLE_EQ(links.deliver(1, 5, {.examples = 1000}, 0).arrival, 3);
  EXPECT_DOUBLE_EQ(links.deliver(1, 5, {}, 3'000'000).arrival, 4);
}

TEST(Links, ADeliveryTakesTheClientsOwnLink) {
  LinkOptions options;
  const Links links(options, kSeed);
  for (std::uint32_t client = 0; client < 100; ++client) {
    const Link link = links.link(client);
    const double arrival = links.deliver(7, client, {.download_bytes = 1'000'000, .examples = 300}, 200'000).arrival;
    EXPECT_DOUBLE_EQ(arrival,
                     2 * link.latency + 1e6 / link.download + 300 * link.seconds_an_example + 2e5 / link.upload);
  }
}

TEST(Links, ALostFrameIsCutUniformlyBelowItsLengthAndCostsTheTimeOfWhatWasSent) {
  LinkOptions options = round_numbers();
  options.lost = 1;
  const Links links(options, kSeed);
  for (const std::uint64_t bytes : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3}, std::uint64_t{1} << 60}) {
    for (std::uint32_t client = 0; client < 1000; ++client) {
      ASSERT_LT(links.deliver(1, client, {}, bytes).bytes_sent, bytes);
    }
  }
  const Delivery nothing = links.deliver(1, 1, {}, 0);
  EXPECT_TRUE(nothing.lost);
  EXPECT_EQ(nothing.bytes_sent, 0u);

  std::map<std::uint64_t, double> counts;
  for (std::uint32_t client = 0; client < kDraws; ++client) {
    const Delivery delivery = links.deliver(1, client, {}, 10'000'000);
    EXPECT_DOUBLE_EQ(delivery.arrival, 1 + static_cast<double>(delivery.bytes_sent) / 1e6);
    ++counts[delivery.bytes_sent / 1'000'000];
  }
  for (std::uint64_t tenth = 0; tenth < 10; ++tenth) expect_rate(counts[tenth], kDraws, 0.1, std::to_string(tenth));
}

TEST(Links, LossDoesNotDependOnTheLengthOfTheFrame) {
  LinkOptions options;
  options.lost = 0.3;
  const Links links(options, kSeed);
  for (std::uint32_t client = 0; client < 1000; ++client) {
    const bool lost = links.deliver(1, client, {.download_bytes = 9, .examples = 9}, 9999).lost;
    EXPECT_EQ(links.deliver(1, client, {}, 10).lost, lost);
  }
}

TEST(Links, SpeedsFadeLogNormallyBetweenRoundsUpAndDownAlone) {
  LinkOptions options = round_numbers();
  options.latency = 0;
  options.fade = 0.4;
  const Links links(options, kSeed);
  std::vector<double> down, up, down_next;
  for (std::uint32_t round = 1; round <= kDraws; ++round) {
    const std::uint32_t client = round % 7;
    down.push_back(std::log(links.deliver(round, client, {.download_bytes = 10'000'000}, 0).arrival));
    down_next.push_back(std::log(links.deliver(round + 1, client, {.download_bytes = 10'000'000}, 0).arrival));
    up.push_back(std::log(links.deliver(round, client, {}, 1'000'000).arrival));
  }
  expect_normal(down, 0, 0.4, "download");
  expect_normal(up, 0, 0.4, "upload");
  expect_uncorrelated(down, up, "download and upload");
  expect_uncorrelated(down, down_next, "round and next");
  EXPECT_EQ(links.link(3).upload, 1e6);
}

// With no work and no latency an empty frame arrives when the wait is over, and a longer one as much later as it takes.
TEST(Links, AClientLooksEveryTenSecondsUntilItsConnectionIsGoodOrItsPatienceEnds) {
  LinkOptions options = round_numbers();
  options.latency = 0;
  options.fade = 0.5;
  options.patience = 25;
  const Links links(options, kSeed);
  std::map<double, double> waits;
  std::vector<double> last_looks;
  for (std::uint32_t client = 0; client < kDraws; ++client) {
    const double wait = links.deliver(1, client, {}, 0).arrival;
    const double upload = links.deliver(1, client, {}, 1'000'000).arrival - wait;
    ++waits[wait];
    if (wait < 25) {
      EXPECT_LE(upload, 1 + 1e-12) << client;
    } else {
      last_looks.push_back(std::log(upload));
    }
  }
  ASSERT_EQ(waits.size(), 4u);
  expect_rate(waits[0], kDraws, 0.5, "at once");
  expect_rate(waits[10], kDraws, 0.25, "10 s");
  expect_rate(waits[20], kDraws, 0.125, "20 s");
  expect_rate(waits[25], kDraws, 0.125, "25 s");
  // The arrival less the wait has lost digits: some 1e-14, nothing beside the deviation of the mean.
  expect_normal(last_looks, 0, 0.5, "the last look");
}

TEST(Links, WithoutFadeNobodyWaits) {
  LinkOptions options = round_numbers();
  options.patience = 100;
  for (std::uint32_t client = 0; client < 100; ++client) {
    EXPECT_DOUBLE_EQ(Links(options, 1).deliver(1, client, {}, 1'000'000).arrival, 2);
  }
}

TEST(Links, DrawsDependOnSeedRoundAndClientAndNotOnTheOrderOfCalls) {
  const LinkOptions options = parse_links("fade=0.5,away=0.3,lost=0.3,patience=30");
  const Links one(options, kSeed), other(options, kSeed);
  constexpr std::uint32_t kRounds = 5, kClients = 40;
  std::vector<std::tuple<bool, double, double, std::uint64_t>> forth, back;
  const auto draw = [](const Links& links, std::uint32_t round, std::uint32_t client) {
    const Delivery delivery = links.deliver(round, client, {.download_bytes = 1000, .examples = 10}, 1'000'000'000);
    return std::tuple(links.away(round, client), links.link(client).upload, delivery.arrival, delivery.bytes_sent);
  };
  for (std::uint32_t round = 1; round <= kRounds; ++round)
    for (std::uint32_t client = 0; client < kClients; ++client) forth.push_back(draw(one, round, client));
  for (std::uint32_t round = kRounds; round >= 1; --round)
    for (std::uint32_t client = kClients; client-- > 0;) back.push_back(draw(other, round, client));
  std::ranges::reverse(back);
  EXPECT_EQ(forth, back);

  std::set<double> arrivals, uploads;
  std::set<std::vector<bool>> away, lost;
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const Links links(options, seed), alike(parse_links("spread=0,fade=0.5"), seed);
    for (std::uint32_t client = 0; client < kClients; ++client) uploads.insert(links.link(client).upload);
    for (std::uint32_t round = 1; round <= kRounds; ++round) {
      std::vector<bool> is_away, is_lost;
      for (std::uint32_t client = 0; client < kClients; ++client) {
        arrivals.insert(alike.deliver(round, client, {}, 1'000'000).arrival);
        is_away.push_back(links.away(round, client));
        is_lost.push_back(links.deliver(round, client, {}, 1000).lost);
      }
      away.insert(is_away);
      lost.insert(is_lost);
    }
  }
  EXPECT_EQ(uploads.size(), 3 * kClients);
  EXPECT_EQ(arrivals.size(), 3 * kRounds * kClients);
  EXPECT_EQ(away.size(), 3 * kRounds);
  EXPECT_EQ(lost.size(), 3 * kRounds);
}

TEST(Links, WhatChangesInARoundLeavesTheClientsLinksAlone) {
  const Links plain({}, kSeed);
  const Links lively(parse_links("fade=1,away=0.5,lost=0.5,over=2,deadline=10,patience=60"), kSeed);
  for (std::uint32_t client = 0; client < 100; ++client) {
    EXPECT_EQ(values_of(plain.link(client)), values_of(lively.link(client)));
  }
}

// Draws of one seed to the bit, as made on x86-64: a client that is lost, and one that waits.
TEST(Links, DrawsAreTheSameOnEveryMachine) {
  const Links links(parse_links("fade=0.5,lost=0.3,patience=30"), 1);
  const ClientWork work{.download_bytes = 1000, .examples = 10};
  EXPECT_EQ(links.link(1).upload, 0x1.d28bc5e507ebcp+14);
  EXPECT_EQ(links.deliver(1, 1, work, 100'000).bytes_sent, 74100u);
  EXPECT_EQ(links.deliver(1, 1, work, 100'000).arrival, 0x1.c477cb494e391p+0);
  EXPECT_EQ(links.deliver(1, 4, work, 100'000).arrival, 0x1.5c02e38f61a2cp+3);
}

TEST(Links, OverSelectionAsksForSoManyTimesAsManyRoundedUp) {
  const auto asked = [](double factor, std::size_t wanted) {
    LinkOptions options;
    options.over_selection = factor;
    return Links(options, 1).asked(wanted);
  };
  EXPECT_EQ(asked(1, 10), 10u);
  EXPECT_EQ(asked(1.1, 10), 11u);
  EXPECT_EQ(asked(1.1, 110), 121u);
  EXPECT_EQ(asked(1.3, 10), 13u);
  EXPECT_EQ(asked(1.3, 1), 2u);
  EXPECT_EQ(asked(1.01, 10), 11u);
  EXPECT_EQ(asked(2, 0), 0u);
  for (std::size_t wanted = 0; wanted < 1000; ++wanted) {
    EXPECT_EQ(asked(1, wanted), wanted);
    EXPECT_EQ(asked(1.3, wanted), (13 * wanted + 9) / 10);
  }
}

TEST(Links, ABudgetIsFourFifthsOfWhatTheLinkCarriesInTheTimeThatIsLeft) {
  LinkOptions options = round_numbers();
  const ClientWork work{.download_bytes = 4'000'000, .examples = 600};  // 0.4 s and 1.2 s, and 1 s of latencies
  EXPECT_EQ(Links(options, 1).upload_budget(0, work), std::nullopt);
  options.deadline = 10;
  EXPECT_DOUBLE_EQ(Links(options, 1).upload_budget(0, work).value(), 0.8 * 7.4 * 1e6);
  options.patience = 25;  // without fade nobody waits
  EXPECT_DOUBLE_EQ(Links(options, 1).upload_budget(0, work).value(), 0.8 * 7.4 * 1e6);
  options.deadline = 100;
  options.fade = 0.5;     // waits of 0, 10, 20 and 25 s have chances 1/2, 1/4, 1/8 and 1/8
  EXPECT_DOUBLE_EQ(Links(options, 1).upload_budget(0, work).value(), 0.8 * (97.4 - (2.5 + 2.5 + 3.125)) * 1e6);
  options.deadline = 2.6;
  options.fade = 0;
  EXPECT_NEAR(Links(options, 1).upload_budget(0, work).value(), 0, 1e-6);
  options.deadline = 1;
  EXPECT_EQ(Links(options, 1).upload_budget(0, work).value(), 0);
}

TEST(Links, WithoutFadeAFrameOfTheBudgetIsInTime) {
  const Links links(parse_links("deadline=20,patience=60"), kSeed);
  const ClientWork work{.download_bytes = 1'000'000, .examples = 600};
  std::size_t some = 0;
  for (std::uint32_t client = 0; client < 10000; ++client) {
    const double budget = links.upload_budget(client, work).value();
    ASSERT_GE(budget, 0);
    if (budget < 1) continue;
    ++some;
    const auto bytes = static_cast<std::uint64_t>(budget);
    EXPECT_LE(links.deliver(1, client, work, bytes).arrival, 20) << client;
    EXPECT_GT(links.deliver(1, client, work, bytes * 5 / 4 + 10).arrival, 20) << client;
  }
  EXPECT_GT(some, 9000u);
}

Delivery sent(std::uint32_t client, double arrival, std::uint64_t bytes, bool lost = false) {
  return {.client = client, .arrival = arrival, .lost = lost, .bytes_sent = bytes};
}

using Clients = std::vector<std::uint32_t>;

void expect_outcome(std::vector<Delivery> deliveries, std::size_t wanted, std::optional<double> deadline,
                    const Clients& accepted, double seconds, std::uint64_t bytes_wasted) {
  std::ranges::sort(deliveries, {}, &Delivery::client);
  do {  // whatever the order
    const RoundOutcome outcome = close_round(deliveries, wanted, deadline);
    EXPECT_EQ(outcome.accepted, accepted);
    EXPECT_EQ(outcome.seconds, seconds);
    EXPECT_EQ(outcome.bytes_wasted, bytes_wasted);
  } while (std::ranges::next_permutation(deliveries, {}, &Delivery::client).found);
}

TEST(CloseRound, TheFirstToArriveAreAcceptedAndTheLastOfThemEndsTheRound) {
  const std::vector<Delivery> deliveries = {sent(1, 9, 1), sent(2, 3, 10), sent(3, 5, 100), sent(4, 7, 1000)};
  expect_outcome(deliveries, 2, {}, {2, 3}, 5, 1001);
  expect_outcome(deliveries, 4, {}, {1, 2, 3, 4}, 9, 0);
  expect_outcome(deliveries, 2, 60, {2, 3}, 5, 1001);
}

TEST(CloseRound, TooFewEndTheRoundAtTheDeadlineOrWithTheLast) {
  const std::vector<Delivery> deliveries = {sent(1, 9, 1), sent(2, 3, 10), sent(3, 12, 100, true)};
  expect_outcome(deliveries, 5, {}, {1, 2}, 12, 100);
  expect_outcome(deliveries, 5, 60, {1, 2}, 60, 100);
  expect_outcome(deliveries, 2, 8, {2}, 8, 101);
}

TEST(CloseRound, ADeadlineThatIsMetExactlyIsMet) {
  expect_outcome({sent(1, 8, 1), sent(2, std::nextafter(8, 9), 10)}, 2, 8, {1}, 8, 10);
  expect_outcome({sent(1, 8, 1), sent(2, 8, 10)}, 2, 8, {1, 2}, 8, 0);
}

TEST(CloseRound, LostFramesAreNeverAcceptedHoweverEarly) {
  expect_outcome({sent(1, 1, 1, true), sent(2, 3, 10), sent(3, 4, 100)}, 2, {}, {2, 3}, 4, 1);
  expect_outcome({sent(1, 1, 1, true), sent(2, 3, 10, true)}, 1, {}, {}, 3, 11);
  expect_outcome({sent(1, 1, 1, true), sent(2, 3, 10, true)}, 1, 30, {}, 30, 11);
}

TEST(CloseRound, TiesGoToTheLowerClient) {
  expect_outcome({sent(9, 3, 1), sent(4, 3, 10), sent(6, 3, 100), sent(5, 3, 1000)}, 2, {}, {4, 5}, 3, 101);
}

TEST(CloseRound, AcceptedClientsAscendWhateverTheirArrivals) {
  expect_outcome({sent(9, 1, 1), sent(4, 3, 1), sent(6, 2, 1)}, 3, {}, {4, 6, 9}, 3, 0);
}

TEST(CloseRound, NoneArrivingAndNoneWanted) {
  expect_outcome({}, 3, {}, {}, 0, 0);
  expect_outcome({}, 3, 20, {}, 20, 0);
  expect_outcome({sent(1, 30, 5), sent(2, 40, 6)}, 1, 20, {}, 20, 11);
  expect_outcome({sent(1, 30, 5)}, 0, {}, {}, 0, 5);
  expect_outcome({sent(1, 30, 5)}, 0, 20, {}, 0, 5);
  expect_outcome({}, 0, {}, {}, 0, 0);
}

TEST(ParseLinks, AnySubsetInAnyOrder) {
  const LinkOptions all = parse_links(
      "trace=a/b.csv,patience=30,deadline=60,over=1.3,example-ms=2,lost=0.1,away=0.25,latency=0.5,fade=0.3,spread=0.6,"
      "down=20,up=4");
  EXPECT_EQ(all.upload_mbit, 4);
  EXPECT_EQ(all.download_mbit, 20);
  EXPECT_EQ(all.latency, 0.5);
  EXPECT_EQ(all.example_ms, 2);
  EXPECT_EQ(all.spread, 0.6);
  EXPECT_EQ(all.fade, 0.3);
  EXPECT_EQ(all.away, 0.25);
  EXPECT_EQ(all.lost, 0.1);
  EXPECT_EQ(all.over_selection, 1.3);
  EXPECT_EQ(all.deadline, 60);
  EXPECT_EQ(all.patience, 30);
  EXPECT_EQ(all.trace, "a/b.csv");
  EXPECT_EQ(parse_links("up=4").download_mbit, 10);
  for (const LinkOptions& none : {parse_links(""), LinkOptions()}) {
    EXPECT_EQ(none.upload_mbit, 1);
    EXPECT_EQ(none.spread, 0.7);
    EXPECT_EQ(none.deadline, std::nullopt);
    EXPECT_EQ(none.trace, "");
  }
}

TEST(ParseLinks, ARefusalNamesTheKeyTheValueAndWhatIsExpected) {
  const std::map<std::string, std::string> expected = {
      {"up", "a number from 1e-06 to 1e+06"},   {"down", "a number from 1e-06 to 1e+06"},
      {"latency", "a number from 0 to 3600"},   {"example-ms", "a number from 0 to 1e+06"},
      {"spread", "a number from 0 to 5"},       {"fade", "a number from 0 to 5"},
      {"away", "a number from 0 to 1"},         {"lost", "a number from 0 to 1"},
      {"over", "a number from 1 to 100"},       {"deadline", "a number from 0.001 to 1e+06"},
      {"patience", "a number from 0 to 1e+06"},
  };
  for (const auto& [key, range] : expected) {
    for (const std::string value : {"x", "1x", "-1", "nan", "inf", "2e6", " 1"}) {
      const std::string text = key + "=" + value;
      EXPECT_EQ(refusal([&] { parse_links(text); }),
                "option 'links:" + text + "': '" + key + "' is '" + value + "', expected " + range);
    }
  }
  const auto refused = [](const std::string& text) { return refusal([&] { parse_links(text); }); };
  EXPECT_EQ(refused("speed=1"), "option 'links' has no parameter 'speed'; it has: up, down, latency, example-ms, "
                                "spread, fade, away, lost, over, patience, deadline, trace");
  EXPECT_EQ(refused("up=1,up=2"), "option 'links:up=1,up=2' gives 'up' twice");
  for (const std::string text : {"up", "up=", "=1", ",", "up=1,", "trace="}) {
    EXPECT_NE(refused(text).find("expected key=value"), std::string::npos) << text;
  }
}

TEST(ParseLinks, TheListOfOptionsNamesAllAndTheirForms) {
  std::set<std::string> names;
  for (const LinkOptionInfo& option : link_options()) {
    EXPECT_TRUE(option.form.starts_with(option.name + "=")) << option.form;
    EXPECT_FALSE(option.summary.empty());
    names.insert(option.name);
    EXPECT_NO_THROW(parse_links(option.name + "=1"));
  }
  EXPECT_EQ(names.size(), 12u);
}

// A summary ends with the default where there is one number of it: that of the options.
TEST(ParseLinks, DefaultsInTheListAreThoseOfTheOptions) {
  for (const LinkOptionInfo& option : link_options()) {
    const std::string value = option.summary.substr(option.summary.rfind(' ') + 1);
    if (option.name == "deadline" || option.name == "trace") continue;
    const LinkOptions parsed = parse_links(option.name + "=" + value), given;
    const auto numbers = [](const LinkOptions& o) {
      return std::vector{o.upload_mbit, o.download_mbit, o.latency, o.example_ms,     o.spread,
                         o.fade,        o.away,          o.lost,    o.over_selection, o.patience};
    };
    EXPECT_EQ(numbers(parsed), numbers(given)) << option.name;
  }
}

TEST(Links, OptionsOutOfRangeAreRefused) {
  const std::vector<std::pair<std::string, std::function<void(LinkOptions&)>>> faults = {
      {"up of the links is 0,", [](auto& o) { o.upload_mbit = 0; }},
      {"down of the links is -1,", [](auto& o) { o.download_mbit = -1; }},
      {"latency of the links is nan,", [](auto& o) { o.latency = std::nan(""); }},
      {"example-ms of the links is -2,", [](auto& o) { o.example_ms = -2; }},
      {"spread of the links is inf,", [](auto& o) { o.spread = HUGE_VAL; }},
      {"fade of the links is 6,", [](auto& o) { o.fade = 6; }},
      {"away of the links is 1.5,", [](auto& o) { o.away = 1.5; }},
      {"lost of the links is -0.1,", [](auto& o) { o.lost = -0.1; }},
      {"over of the links is 0.9,", [](auto& o) { o.over_selection = 0.9; }},
      {"deadline of the links is 0,", [](auto& o) { o.deadline = 0; }},
      {"patience of the links is 1e+09,", [](auto& o) { o.patience = 1e9; }},
  };
  for (const auto& [start, spoil] : faults) {
    LinkOptions options;
    spoil(options);
    const std::string text = refusal([&] { Links(options, 1); });
    EXPECT_TRUE(text.starts_with(start)) << text;
    EXPECT_NE(text.find("expected a number from"), std::string::npos) << text;
  }
}

TEST(Links, ExtremeOptionsGiveFiniteTimes) {
  for (const char* text : {"up=1e-6,down=1e-6,spread=5,fade=5,latency=3600,example-ms=1e6,patience=1e6,deadline=1e6",
                           "up=1e6,down=1e6,spread=5,fade=5,latency=0,example-ms=0,deadline=0.001"}) {
    const Links links(parse_links(text), kSeed);
    const ClientWork work{.download_bytes = UINT64_MAX, .examples = UINT64_MAX};
    for (std::uint32_t client = 0; client < 1000; ++client) {
      EXPECT_TRUE(std::isfinite(links.deliver(UINT32_MAX, UINT32_MAX - client, work, UINT64_MAX).arrival));
      EXPECT_TRUE(std::isfinite(links.upload_budget(client, {}).value()));
    }
  }
}

class LinkTrace : public testing::Test {
 protected:
  LinkTrace() : file_(fs::temp_directory_path() / ("fewbits_links_" + std::to_string(getpid()) + ".csv")) {}
  ~LinkTrace() override { fs::remove(file_); }

  Links links(const std::string& text, std::uint64_t seed = 1) const {
    std::ofstream(file_) << text;
    LinkOptions options;
    options.trace = file_.string();
    return Links(options, seed);
  }
  std::string refused(const std::string& text) const { return refusal([&] { links(text); }); }

  fs::path file_;
};

constexpr const char* kThree = "upload_mbit,download_mbit,latency_s\n";
constexpr const char* kFour = "upload_mbit,download_mbit,latency_s,example_ms\n";

TEST_F(LinkTrace, ClientsTakeItsRows) {
  const Links traced = links(std::string(kFour) + "8,80,0.5,2\n");
  EXPECT_EQ(values_of(traced.link(7)), std::tuple(1e6, 1e7, 0.5, 0.002));
  EXPECT_DOUBLE_EQ(traced.deliver(1, 7, {.download_bytes = 4'000'000, .examples = 600}, 250'000).arrival, 2.85);
}

TEST_F(LinkTrace, WithoutComputeTimesTheyAreDrawnAsEver) {
  const Links traced = links(std::string(kThree) + "8,80,0\r\n", kSeed);
  const Links drawn({}, kSeed);
  for (std::uint32_t client = 0; client < 100; ++client) {
    const double seconds = drawn.link(client).seconds_an_example;
    EXPECT_EQ(values_of(traced.link(client)), std::tuple(1e6, 1e7, 0.0, seconds));
  }
}

TEST_F(LinkTrace, EachRowIsTakenAsOftenInAnOrderOfTheSeed) {
  std::string text = kThree;
  for (int row = 1; row <= 50; ++row) text += std::to_string(row) + ",10,0.1\n";
  std::set<std::vector<double>> orders;
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const Links traced = links(text, seed);
    std::map<double, int> times;
    std::vector<double> order;
    for (std::uint32_t client = 0; client < 200; ++client) {
      order.push_back(traced.link(client).upload / 125000);
      ++times[order.back()];
    }
    ASSERT_EQ(times.size(), 50u);
    for (const auto& [row, count] : times) EXPECT_EQ(count, 4) << row;
    EXPECT_FALSE(std::is_sorted(order.begin(), order.begin() + 50));
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 3u);
}

TEST_F(LinkTrace, AFaultIsNamedByFileAndLine) {
  const std::string at = "trace '" + file_.string() + "': line ";
  const std::string speed = "', expected a number from 1e-06 to 1e+06", latency = "', expected a number from 0 to 3600";
  EXPECT_EQ(refused(""), at + "0 is '', expected 'upload_mbit,download_mbit,latency_s' or "
                              "'upload_mbit,download_mbit,latency_s,example_ms'");
  EXPECT_TRUE(refused("1,2,3\n").starts_with(at + "1 is '1,2,3', expected 'upload_mbit,")) << refused("1,2,3\n");
  EXPECT_TRUE(refused("upload_mbit,download_mbit\n").starts_with(at + "1 is "));
  EXPECT_EQ(refused(kThree), at + "1 is the last, expected a line for each link");
  EXPECT_EQ(refused(std::string(kThree) + "1,2,3\n1,2\n"), at + "3 is '1,2', expected 3 numbers");
  EXPECT_EQ(refused(std::string(kThree) + "1,2,3,4\n"), at + "2 is '1,2,3,4', expected 3 numbers");
  EXPECT_EQ(refused(std::string(kFour) + "1,2,3\n"), at + "2 is '1,2,3', expected 4 numbers");
  EXPECT_EQ(refused(std::string(kThree) + "1,2,3\n\n1,2,3\n"), at + "3 is '', expected 3 numbers");
  EXPECT_EQ(refused(std::string(kThree) + "nan,2,3\n"), at + "2 has upload_mbit 'nan" + speed);
  EXPECT_EQ(refused(std::string(kThree) + "0,2,3\n"), at + "2 has upload_mbit '0" + speed);
  EXPECT_EQ(refused(std::string(kThree) + "1,-2,3\n"), at + "2 has download_mbit '-2" + speed);
  EXPECT_EQ(refused(std::string(kThree) + "1,inf,3\n"), at + "2 has download_mbit 'inf" + speed);
  EXPECT_EQ(refused(std::string(kThree) + "1,2,-0.1\n"), at + "2 has latency_s '-0.1" + latency);
  EXPECT_EQ(refused(std::string(kThree) + "1,2,\n"), at + "2 has latency_s '" + latency);
  EXPECT_EQ(refused(std::string(kThree) + "1,2,3s\n"), at + "2 has latency_s '3s" + latency);
  EXPECT_EQ(refused(std::string(kFour) + "1,2,3,-1\n"),
            at + "2 has example_ms '-1', expected a number from 0 to 1e+06");
}

TEST_F(LinkTrace, AFileThatIsNotThereIsNamed) {
  LinkOptions options;
  options.trace = file_.string() + ".none";
  EXPECT_EQ(refusal([&] { Links(options, 1); }), "trace '" + options.trace + "' cannot be read");
}

}  // namespace
}  // namespace fewbits::federated
