#include "tests/engine/threads.h"
#include "tests/secure/round.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "fewbits/integers.h"
#include "fewbits/secure/system_random.h"
#include "fewbits/secure/words.h"

namespace fewbits::secure {
namespace {

using fewbits::test::refusal;
using test::small;
using test::TestRound;

constexpr Phase kPhases[] = {Phase::kKeys, Phase::kShares, Phase::kInputs, Phase::kUnmasking};

// The i-th of the cohort's clients, from some place on, in an order of their ids.
std::set<std::uint64_t> some(const TestRound& round, std::size_t count, std::size_t from = 1) {
  std::set<std::uint64_t> chosen;
  for (std::size_t i = 0; i < count; ++i) chosen.insert(round.cohort()[(from + i) % round.cohort().size()]);
  return chosen;
}

TEST(Round, TheSumIsThatOfTheInputs) {
  for (const std::size_t clients : {3, 10, 100})
    for (const unsigned bits : {1u, 11u, 16u, 17u, 32u}) {
      if (clients == 100 && bits != 11) continue;
      TestRound round(small(clients, 1000, bits));
      EXPECT_TRUE(round.ends_well()) << clients << " clients, " << bits << " bits";
      EXPECT_EQ(round.server().survivors().size(), clients);
    }
}

TEST(Round, TheSumIsThatOfTheInputsForAwkwardLengths) {
  for (const std::size_t length : {1, 2, 31, 33, 4095, 4096, 4097, 65536, 65537, 3 * 65536 + 5})
    for (const unsigned bits : {7u, 19u}) {
      TestRound round(small(3, length, bits));
      EXPECT_TRUE(round.ends_well()) << length;
    }
}

TEST(Round, TheSumIsTheSameOnThreads) {
  fewbits::test::Threads threads(3);
  TestRound round(small(5, 200'000, 9));
  round.run_until(Phase::kInputs);
  for (const std::uint64_t id : round.cohort()) {
    if (id == round.cohort()[0]) continue;
    round.server().receive(id, round.client(id).masked_input(round.down(id), round.input(id), &threads));
  }
  round.silent = {round.cohort()[0]};
  round.close();
  const auto sum = round.finish(&threads);
  EXPECT_EQ(sum, round.plain_sum());
  EXPECT_EQ(sum, round.server().sum());
}

TEST(Round, ClientsMayDropInAnyPhaseDownToTheThreshold) {
  // Every client that stays needs `threshold` neighbours who stay: threshold + 1 clients of a complete graph.
  for (const std::size_t clients : {4, 10, 25})
    for (const Phase phase : kPhases) {
      TestRound round(small(clients));
      round.run_until(phase);
      const std::size_t dropped = clients - round.settings().threshold - 1;
      round.silent = some(round, dropped);
      EXPECT_TRUE(round.ends_well()) << clients << " clients, phase " << static_cast<int>(phase);
      EXPECT_EQ(round.server().survivors().size(), phase == Phase::kUnmasking ? clients : clients - dropped);
    }
}

TEST(Round, BelowTheThresholdNothingIsOpened) {
  for (const Phase phase : kPhases) {
    TestRound round(small(10));
    round.run_until(phase);
    round.silent = some(round, 10 - round.settings().threshold);  // each other has threshold − 1 neighbours
    round.deliver(round.answers());
    if (phase != Phase::kUnmasking) {
      EXPECT_EQ(refusal([&] { round.close(); }), Errc::kEmpty);
      EXPECT_EQ(round.server().phase(), phase);
    }
    EXPECT_EQ(refusal([&] { round.server().sum(); }), phase == Phase::kUnmasking ? Errc::kEmpty : Errc::kBadArgument);
    // Who comes late ends it all the same.
    round.deliver({{*round.silent.begin(), round.answer(*round.silent.begin())}});
    round.silent.erase(round.silent.begin());
    if (phase != Phase::kUnmasking) {
      round.close();
      EXPECT_TRUE(round.ends_well());
    } else {
      EXPECT_EQ(round.server().sum(), round.plain_sum());
    }
  }
}

TEST(Round, BelowTheSmallestCohortNothingIsOpened) {
  for (const Phase phase : {Phase::kKeys, Phase::kShares, Phase::kInputs}) {
    Settings settings = small(10);
    settings.min_cohort = 10;
    TestRound round(settings);
    round.run_until(phase);
    round.silent = some(round, 1);
    round.deliver(round.answers());
    EXPECT_EQ(refusal([&] { round.close(); }), Errc::kEmpty);
  }
}

TEST(Round, ASparseGraphSumsAndSurvivesDropouts) {
  Settings settings = small(60, 500, 12);
  settings.neighbours = 20;
  settings.threshold = 12;
  for (const Phase phase : kPhases) {
    TestRound round(settings, 3);
    round.run_until(phase);
    round.silent = some(round, 9, 5);
    EXPECT_TRUE(round.ends_well());
  }
}

TEST(Round, TheDefaultsOfManyClientsWork) {
  TestRound round(small(150, 10, 9));
  EXPECT_EQ(round.settings().neighbours, 52u);
  round.run_until(Phase::kInputs);
  round.silent = some(round, 7);
  EXPECT_TRUE(round.ends_well());
}

TEST(Round, AnyClientMayDropInAnyPhaseOneAfterTheOther) {
  Settings settings = small(30);
  settings.neighbours = 29;
  settings.threshold = 15;
  TestRound round(settings);
  for (const Phase phase : kPhases) {
    round.run_until(phase);
    for (const std::uint64_t id : some(round, 3, 3 * static_cast<std::size_t>(phase))) round.silent.insert(id);
  }
  EXPECT_TRUE(round.ends_well());
  EXPECT_EQ(round.server().survivors().size(), 21u);
}

TEST(Round, AClientMayBeSavedBetweenMessages) {
  TestRound round(small(6));
  std::map<std::uint64_t, test::SeededRandom> randoms;
  const auto reborn = [&] {   // in another process, with other randomness
    for (const std::uint64_t id : round.cohort()) {
      const Bytes state = round.client(id).save();
      round.client(id) = Client::restore(round.settings(), id, state, randoms.try_emplace(id, 500 + id).first->second);
      EXPECT_EQ(round.client(id).save(), state);
    }
  };
  const std::uint64_t lost = round.cohort()[2];
  for (const Phase phase : kPhases) {
    round.run_until(phase);
    if (phase == Phase::kInputs) round.silent.insert(lost);
    reborn();
  }
  round.deliver(round.answers());
  EXPECT_EQ(round.server().sum(), round.plain_sum());
  reborn();
  EXPECT_EQ(refusal([&] { round.client(round.cohort()[0]).unmask(round.down(round.cohort()[0])); }), Errc::kBadArgument);
}

TEST(Round, AStateThatIsNotTheSavedOneIsRefused) {
  TestRound round(small(4));
  test::SeededRandom random(9);
  for (const Phase phase : kPhases) {
    round.run_until(phase);
    const std::uint64_t id = round.cohort()[1];
    const Bytes state = round.client(id).save();
    for (std::size_t at = 0; at < state.size(); ++at) {
      Bytes changed = state;
      changed[at] ^= std::byte{4};
      EXPECT_NE(refusal([&] { Client::restore(round.settings(), id, changed, random); }), std::nullopt) << "byte " << at;
      EXPECT_NE(refusal([&] { Client::restore(round.settings(), id, std::span(state).first(at), random); }), std::nullopt) << "first " << at;
    }
    EXPECT_EQ(refusal([&] { Client::restore(round.settings(), round.cohort()[0], state, random); }), Errc::kWrongClient);
    Settings other = round.settings();
    ++other.round;
    EXPECT_EQ(refusal([&] { Client::restore(other, id, state, random); }), Errc::kWrongRound);
  }
}

TEST(Round, RandomnessOfTheSystemWorks) {
  const Settings settings = small(3);
  SystemRandom random;
  const std::uint64_t ids[] = {1, 2, 3};
  Server server(settings, ids, random);
  std::vector<Client> clients;
  for (const std::uint64_t id : ids) clients.emplace_back(settings, id, random);
  const std::vector<std::uint32_t> input(settings.length, 5);
  for (Client& client : clients) server.receive(client.id(), client.advertise());
  auto down = server.close();
  for (Client& client : clients) server.receive(client.id(), client.share(down[client.id()]));
  down = server.close();
  for (Client& client : clients) server.receive(client.id(), client.masked_input(down[client.id()], input));
  down = server.close();
  for (Client& client : clients) server.receive(client.id(), client.unmask(down[client.id()]));
  EXPECT_EQ(server.sum(), std::vector<std::uint32_t>(settings.length, 15));
}

// 100 clients with 4-bit values, 30 % of whom drop in one phase: TRUST's bars of bytes.
TEST(Round, AHundredClientsAndTheirBytes) {
  const std::size_t length = std::size_t{1} << (fewbits::test::long_tests() ? 20 : 14);
  const unsigned bits = word_bits(16, 100);
  EXPECT_EQ(bits, 11u);
  fewbits::test::Threads threads(2);
  for (const Phase phase : kPhases) {
    TestRound round(small(100, length, bits), 9);
    for (const std::uint64_t id : round.cohort())
      for (std::uint32_t& word : round.input(id)) word &= 15;
    round.run_until(phase);
    round.silent = some(round, 30, 17);
    const auto sum = round.finish(&threads);
    ASSERT_EQ(sum, round.plain_sum());
    for (const auto& [id, bytes] : round.sent_bytes) {
      if (round.silent.contains(id)) continue;
      const std::size_t input = (length * bits + 7) / 8;
      EXPECT_LE(bytes - input, 30'000u);
      if (length == 1 << 20) {
        EXPECT_LE(static_cast<double>(bytes), 1.40 * static_cast<double>(length));
      }
      RecordProperty("bytes_of_keys_and_shares", static_cast<int>(bytes - input));
    }
  }
}

// From updates to their mean: what the server decodes is, to the bit, the mean of the frames that it has not seen.
TEST(Round, IntegersOfACodecGiveTheMeanOfItsFrames) {
  constexpr std::size_t kClients = 6;
  const auto codec = Codec::compile("dither:scale=flat,step=0.05", 3000);
  const Integers integers(codec, {.seed = 42, .round = 3, .cohort_size = kClients});
  Settings settings = small(kClients, integers.size(), 14);
  settings.plan = codec.fingerprint();
  TestRound round(settings);
  Aggregator frames(codec, {.seed = 42, .round = 3, .cohort_size = kClients});
  std::vector<Contribution> left;
  std::vector<std::int32_t> mine(integers.size());
  for (std::uint32_t i = 0; i < kClients; ++i) {
    const std::uint64_t id = round.cohort()[i];
    const auto update = fewbits::test::normal(3000, id);
    integers.encode(update, {.client = id, .cohort_index = i}, mine);
    to_words(mine, settings.bits, round.input(id));
    if (i == 2) continue;
    left.push_back({.client = id, .cohort_index = i});
    frames.add(codec.encode(update, {.seed = 42, .round = 3, .client = id, .cohort = {i, kClients}}), left.back());
  }
  round.run_until(Phase::kInputs);
  round.silent = {round.cohort()[2]};
  std::vector<std::int64_t> sums(integers.size());
  from_words(round.finish(), settings.bits, sums);
  EXPECT_TRUE(fewbits::test::same_bits(integers.mean(sums, left), frames.mean()));
}

TEST(Words, BitsAreEnoughAndNotMore) {
  // TRUST §3.3: clients 10, 100, 1,000 at 1, 2, 4, 8 bits.
  const std::map<std::uint64_t, std::vector<unsigned>> table = {
      {10, {4, 5, 8, 12}}, {100, {7, 9, 11, 15}}, {1000, {10, 12, 14, 18}}};
  for (const auto& [clients, row] : table) {
    std::vector<unsigned> found;
    for (const unsigned bits : {1u, 2u, 4u, 8u}) found.push_back(word_bits(1u << bits, clients));
    EXPECT_EQ(found, row) << clients;
  }
  EXPECT_EQ(word_bits(1, 5), 1u);
  EXPECT_EQ(word_bits(2, 1), 1u);
  EXPECT_EQ(word_bits(0x1'0000'0000, 1), 32u);
  EXPECT_EQ(refusal([] { word_bits(0x1'0000'0001, 1); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([] { word_bits(~0ull, ~0ull); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([] { word_bits(0, 1); }), Errc::kBadArgument);
}

TEST(Words, SumsOfIntegersComeBack) {
  constexpr std::size_t kClients = 10;
  for (const std::int32_t least : {-8, 0, -3})
    for (const std::int32_t values : {2, 16, 15}) {
      const unsigned bits = word_bits(static_cast<std::uint64_t>(values), kClients);
      std::vector<std::uint32_t> sum(50), words(50);
      std::vector<std::int64_t> want(50), got(50);
      RandomReader random = fewbits::test::reader(static_cast<std::uint64_t>(values));
      for (std::size_t client = 0; client < kClients; ++client) {
        std::vector<std::int32_t> integers(50);
        for (std::size_t i = 0; i < 50; ++i) {
          // The ends are there, at all clients.
          integers[i] = least + (i == 0   ? 0
                                 : i == 1 ? values - 1
                                          : static_cast<std::int32_t>(random.next() % static_cast<std::uint32_t>(values)));
          want[i] += integers[i];
        }
        to_words(integers, bits, words);
        for (std::size_t i = 0; i < 50; ++i) sum[i] = (sum[i] + words[i]) & ((1u << bits) - 1);
      }
      from_words(sum, bits, static_cast<std::int64_t>(kClients) * least, got);
      EXPECT_EQ(got, want) << least << " and " << values << " values";
    }
  const std::vector<std::uint32_t> words = {0, 1, 7, 8, 15};
  std::vector<std::int64_t> centred(5);
  from_words(words, 4, centred);
  EXPECT_EQ(centred, (std::vector<std::int64_t>{0, 1, 7, -8, -1}));
  std::vector<std::uint32_t> out(1);
  const std::vector<std::int32_t> high = {16}, low = {-9};
  EXPECT_EQ(refusal([&] { to_words(high, 4, out); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { to_words(low, 4, out); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { from_words(words, 3, centred); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { from_words(words, 4, std::span(centred).first(2)); }), Errc::kBadArgument);
}

}  // namespace
}  // namespace fewbits::secure
