#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>

#include "secure/messages.h"
#include "tests/engine/allocations.h"
#include "tests/engine/hostile.h"
#include "tests/secure/round.h"

namespace fewbits::secure {
namespace {

using fewbits::test::PeakAllocation;
using fewbits::test::refusal;
using fewbits::test::with_bytes;
using fewbits::test::with_value;
using test::small;
using test::TestRound;

constexpr Phase kPhases[] = {Phase::kKeys, Phase::kShares, Phase::kInputs, Phase::kUnmasking};
constexpr std::size_t kRoundAt = 4, kSessionAt = 8, kPlanAt = 16, kTermsAt = 24, kClientAt = 32;

// What the call throws; "" where it returns.
std::string complaint(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool mentions(const std::string& text, std::uint64_t client) {
  const auto at = text.find(name(client));
  return at != std::string::npos &&
         (at + name(client).size() == text.size() || std::isdigit(text[at + name(client).size()]) == 0);
}

struct Lie {
  Bytes message;
  Errc code;
};

// What is wrong with the bytes of any message, whoever reads it.
std::vector<Lie> lies_about(const Bytes& message, std::uint64_t client) {
  std::vector<Lie> lies;
  fewbits::test::truncations(message, [&](Bytes cut) { lies.push_back({std::move(cut), Errc::kTruncated}); });
  Bytes longer = message;
  longer.push_back(std::byte{0});
  lies.push_back({longer, Errc::kTrailingBytes});
  lies.push_back({with_value(message, 0, std::uint8_t{0xFB}), Errc::kNotAFrame});
  lies.push_back({with_value(message, 1, std::uint8_t{2}), Errc::kUnknownVersion});
  for (std::uint8_t type = 0; type < 9; ++type)
    if (static_cast<std::byte>(type) != message[2]) lies.push_back({with_value(message, 2, type), Errc::kMalformed});
  lies.push_back({with_value(message, 3, std::uint8_t{1}), Errc::kMalformed});
  lies.push_back({with_value(message, kRoundAt, std::uint32_t{4}), Errc::kWrongRound});
  lies.push_back({with_value(message, kSessionAt, std::uint64_t{6}), Errc::kWrongRound});
  lies.push_back({with_value(message, kPlanAt, std::uint64_t{0}), Errc::kWrongPlan});
  lies.push_back({with_value(message, kTermsAt, std::uint64_t{0}), Errc::kWrongPlan});
  lies.push_back({with_value(message, kClientAt, client + 1), Errc::kWrongClient});
  return lies;
}

TEST(HostileClient, WhatIsNotAMessageOfThePhaseChangesNothing) {
  TestRound round(small(4));
  const std::uint64_t liar = round.cohort()[2];
  for (const Phase phase : kPhases) {
    round.run_until(phase);
    auto sent = round.answers();
    for (const Lie& lie : lies_about(sent[liar], liar)) {
      EXPECT_EQ(refusal([&] { round.server().receive(liar, lie.message); }), lie.code) << static_cast<int>(phase);
      EXPECT_TRUE(mentions(complaint([&] { round.server().receive(liar, lie.message); }), liar));
    }
    EXPECT_EQ(refusal([&] { round.server().receive(99, sent[liar]); }), Errc::kWrongClient);
    EXPECT_EQ(refusal([&] { round.server().receive(round.cohort()[0], sent[liar]); }), Errc::kWrongClient);
    round.deliver(sent);
    EXPECT_EQ(refusal([&] { round.server().receive(liar, sent[liar]); }), Errc::kDuplicateClient);
    if (phase != Phase::kUnmasking) round.close();
  }
  EXPECT_EQ(round.server().sum(), round.plain_sum());
  EXPECT_EQ(refusal([&] { round.server().close(); }), Errc::kBadArgument);
}

TEST(HostileClient, MessagesOfOtherPhasesRoundsAndSettingsAreRefused) {
  TestRound round(small(4));
  const std::uint64_t liar = round.cohort()[1];
  std::vector<Bytes> mine;
  for (const Phase phase : kPhases) {
    round.run_until(phase);
    for (const Bytes& old : mine) EXPECT_EQ(refusal([&] { round.server().receive(liar, old); }), Errc::kMalformed);
    auto sent = round.answers();
    mine.push_back(sent[liar]);
    round.deliver(sent);
    if (phase != Phase::kUnmasking) round.close();
  }
  const auto against = [&](Settings settings, Errc code) {
    TestRound other(settings, 2);
    for (const Phase phase : kPhases) {
      other.run_until(phase);
      EXPECT_EQ(refusal([&] { other.server().receive(liar, mine[static_cast<std::size_t>(phase)]); }), code);
      // All that come later, too.
      if (phase == Phase::kUnmasking) continue;
      EXPECT_NE(refusal([&] { other.server().receive(liar, mine[static_cast<std::size_t>(phase) + 1]); }), std::nullopt);
    }
    EXPECT_TRUE(other.ends_well());
  };
  const auto other = [&](auto Settings::* field, auto value, Errc refused) {
    Settings settings = small(4);
    settings.*field = value;
    against(settings, refused);
  };
  other(&Settings::round, 4u, Errc::kWrongRound);
  other(&Settings::session, 6u, Errc::kWrongRound);
  other(&Settings::plan, 1u, Errc::kWrongPlan);
  other(&Settings::bits, 12u, Errc::kWrongPlan);
  other(&Settings::length, 101u, Errc::kWrongPlan);
  other(&Settings::min_cohort, 4u, Errc::kWrongPlan);
}

TEST(HostileClient, AnInputWithPaddingThatIsNotZeroIsNotAdded) {
  for (const std::size_t length : {100u, 4097u, 70'001u}) {
    TestRound round(small(3, length, 11));
    round.run_until(Phase::kInputs);
    const std::uint64_t liar = round.cohort()[0];
    auto sent = round.answers();
    Bytes padded = sent[liar];
    padded.back() |= std::byte{0x80};  // of the plane of single bits, which is the last, in part
    EXPECT_EQ(refusal([&] { round.server().receive(liar, padded); }), Errc::kMalformed);
    round.deliver(sent);
    round.close();
    EXPECT_TRUE(round.ends_well());
  }
}

TEST(HostileClient, WhoHasMissedAPhaseIsOut) {
  for (const Phase phase : {Phase::kKeys, Phase::kShares, Phase::kInputs}) {
    TestRound round(small(5));
    round.run_until(phase);
    const std::uint64_t late = round.cohort()[4];
    const Bytes message = round.answer(late);
    round.silent = {late};
    round.deliver(round.answers());
    round.close();
    EXPECT_EQ(refusal([&] { round.server().receive(late, message); }), Errc::kWrongClient);
    EXPECT_TRUE(round.ends_well());
  }
}

TEST(HostileClient, UselessKeysAreRefused) {
  TestRound round(small(4));
  auto sent = round.answers();
  const std::uint64_t first = round.cohort()[0], liar = round.cohort()[1];
  const Bytes firsts = sent[first];
  round.server().receive(first, firsts);
  sent.erase(first);
  const auto key_of = [](const Bytes& message, std::size_t which) {
    return Bytes(message.begin() + static_cast<std::ptrdiff_t>(kHeaderBytes + kKeyBytes * which),
                 message.begin() + static_cast<std::ptrdiff_t>(kHeaderBytes + kKeyBytes * (which + 1)));
  };
  const Bytes& good = sent[liar];
  for (const std::size_t at : {kHeaderBytes, kHeaderBytes + kKeyBytes}) {
    const auto refused = [&](const Bytes& key) {
      const Bytes message = with_bytes(good, at, key);
      EXPECT_EQ(refusal([&] { round.server().receive(liar, message); }), Errc::kMalformed);
    };
    Bytes low(kKeyBytes);
    refused(low);  // the points 0 and 1, p − 1, p, p + 1
    low[0] = std::byte{1};
    refused(low);
    for (const unsigned last : {0xEC, 0xED, 0xEE}) {
      Bytes high(kKeyBytes, std::byte{0xFF});
      high[0] = static_cast<std::byte>(last);
      high[31] = std::byte{0x7F};
      refused(high);
    }
    refused(key_of(good, at == kHeaderBytes ? 1 : 0));
    for (const std::size_t which : {0, 1}) refused(key_of(firsts, which));
  }
  round.deliver(sent);
  round.close();
  EXPECT_TRUE(round.ends_well());
}

TEST(HostileClient, ARevealedShareThatIsNotTheOneSentIsRefusedAndNamed) {
  TestRound round(small(10));
  round.run_until(Phase::kInputs);
  round.silent = {round.cohort()[0]};  // so that both kinds of shares are revealed
  round.run_until(Phase::kUnmasking);
  const std::uint64_t liar = round.cohort()[3];
  auto sent = round.answers();
  for (std::size_t at = kHeaderBytes; at < sent[liar].size(); ++at) {
    Bytes changed = sent[liar];
    changed[at] ^= std::byte{0x10};
    const std::string text = complaint([&] { round.server().receive(liar, changed); });
    ASSERT_TRUE(mentions(text, liar)) << text;
  }
  sent.erase(liar);
  round.deliver(sent);
  EXPECT_EQ(round.server().sum(), round.plain_sum());  // without the liar's shares, and with its input
}

// A client whose keys are known here, so that it can say what no honest one does.
class Liar {
 public:
  Liar(const Settings& settings, std::uint64_t id)
      : round_(settings),
        id_(id),
        random_(99),
        sharing_(Secret::drawn(random_)),
        secret_(Secret::drawn(random_)),
        masking_(secret_) {}

  Bytes keys() {
    Bytes message = begun(Message::kKeys);
    ByteWriter out(message);
    out.bytes(sharing_.public_key());
    out.bytes(masking_.public_key());
    return message;
  }

  struct Dealing {
    bool other_commitment = false;  // of the shares
    bool scattered = false;         // shares on no polynomial of the right degree
    bool other_seed = false;        // than the one committed to
    bool other_key = false;         // than the one advertised
    bool garbage = false;           // not encrypted at all
    bool only_first = false;        // lies to one neighbour alone
  };

  Bytes shares(const Bytes& neighbours, const Dealing& how) {
    const Settings& settings = round_.settings();
    Bytes message = begun(Message::kShares);
    ByteWriter out(message);
    const Secret seed = Secret::drawn(random_);
    out.bytes(round_.seed_commitment(how.other_seed ? secret_ : seed, id_));
    ByteReader in(neighbours);
    in.bytes(kHeaderBytes + 2 * kKeyBytes);
    const std::size_t count = in.u32();
    auto seeds = split(seed, settings.threshold, count, random_);
    const auto secrets = split(how.other_key ? seed : secret_, settings.threshold, count, random_);
    if (how.scattered)
      for (Secret& share : seeds) share = Secret::drawn(random_);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t to = in.u64();
      PublicKey theirs;
      std::ranges::copy(in.bytes(kKeyBytes), theirs.begin());
      in.bytes(kKeyBytes);
      const bool lies = !how.only_first || i == 0;
      Secret committed = seeds[i];
      if (how.other_commitment && lies) committed.bytes[5] ^= std::byte{1};
      out.bytes(round_.share_commitment(Kind::kSelfMask, id_, to, committed));
      out.bytes(round_.share_commitment(Kind::kMaskKey, id_, to, secrets[i]));
      Bytes plain(seeds[i].bytes.begin(), seeds[i].bytes.end());
      plain.insert(plain.end(), secrets[i].bytes.begin(), secrets[i].bytes.end());
      seal(round_.share_key(*sharing_.agree(theirs), id_, to), round_.associated(id_, to), plain, out.grow(kSealedBytes));
      if (how.garbage && lies) std::ranges::fill(out.written().last(kSealedBytes), std::byte{7});
    }
    return message;
  }

  Bytes input() {
    Bytes message = begun(Message::kInput);
    message.resize(kHeaderBytes + round_.input_bytes());
    return message;
  }

 private:
  Bytes begun(Message type) {
    Bytes message;
    ByteWriter out(message);
    round_.write_header(out, type, id_);
    return message;
  }

  Round round_;
  std::uint64_t id_;
  test::SeededRandom random_;
  KeyPair sharing_;
  Secret secret_;
  KeyPair masking_;
};

// A round in which the liar has dealt; it stands before the inputs.
struct WithLiar {
  explicit WithLiar(const Liar::Dealing& how) : round(small(6)), id(round.cohort()[2]), liar(round.settings(), id) {
    round.silent = {id};
    round.deliver(round.answers());
    round.server().receive(id, liar.keys());
    down = round.server().close();
    for (const std::uint64_t client : round.cohort())
      if (client != id) round.server().receive(client, round.client(client).share(down[client]));
    round.server().receive(id, liar.shares(down[id], how));
    down = round.server().close();
  }

  TestRound round;
  std::uint64_t id;
  Liar liar;
  TestRound::Messages down;
};

TEST(HostileClient, AnHonestLiarEndsTheRound) {  // so that the tests below see lies and nothing else
  for (const bool drops : {false, true}) {
    WithLiar with({});
    for (const std::uint64_t client : with.round.cohort())
      if (client != with.id)
        with.round.server().receive(client, with.round.client(client).masked_input(with.down[client], with.round.input(client)));
    if (!drops) with.round.server().receive(with.id, with.liar.input());
    with.down = with.round.server().close();
    for (const std::uint64_t client : with.round.cohort())
      if (client != with.id) with.round.server().receive(client, with.round.client(client).unmask(with.down[client]));
    const auto sum = with.round.server().sum();
    if (drops) {
      EXPECT_EQ(sum, with.round.plain_sum());
    }
  }
}

TEST(HostileClient, SharesThatDoNotDecryptOrAreNotThoseCommittedToAreNamedByTheirReceiver) {
  for (const bool garbage : {false, true}) {
    WithLiar with({.other_commitment = !garbage, .garbage = garbage, .only_first = true});
    std::size_t complaints = 0;
    for (const std::uint64_t client : with.round.cohort()) {
      if (client == with.id) continue;
      const auto answer = [&] { with.round.client(client).masked_input(with.down[client], with.round.input(client)); };
      try {
        answer();
      } catch (const Error& error) {
        ++complaints;
        EXPECT_EQ(error.code(), garbage ? Errc::kChecksumMismatch : Errc::kMalformed);
        EXPECT_TRUE(mentions(error.what(), with.id)) << error.what();
        EXPECT_EQ(refusal(answer), error.code());  // and it stands where it was
      }
    }
    EXPECT_EQ(complaints, 1u);
  }
}

TEST(HostileClient, WhoDealtSharesThatOpenNothingIsNamed) {
  for (const int lie : {0, 1, 2}) {
    const bool drops = lie == 2;  // then its mask key is what is opened
    WithLiar with({.scattered = lie == 0, .other_seed = lie == 1, .other_key = lie == 2});
    for (const std::uint64_t client : with.round.cohort())
      if (client != with.id)
        with.round.server().receive(client, with.round.client(client).masked_input(with.down[client], with.round.input(client)));
    if (!drops) with.round.server().receive(with.id, with.liar.input());
    with.down = with.round.server().close();
    for (const std::uint64_t client : with.round.cohort())
      if (client != with.id) with.round.server().receive(client, with.round.client(client).unmask(with.down[client]));
    EXPECT_EQ(refusal([&] { with.round.server().sum(); }), Errc::kMalformed);
    EXPECT_TRUE(mentions(complaint([&] { with.round.server().sum(); }), with.id));
  }
}

TEST(HostileServer, WhatIsNotTheMessageThatIsDueChangesNothing) {
  TestRound round(small(4));
  const std::uint64_t id = round.cohort()[3];
  const auto lied_to = [&](auto call) {
    for (const Lie& lie : lies_about(round.down(id), id)) {
      // Of survivors that are cut short in the list nothing has been claimed yet; all are refused.
      EXPECT_EQ(refusal([&] { call(lie.message); }), lie.code);
    }
  };
  round.run_until(Phase::kShares);
  lied_to([&](const Bytes& message) { round.client(id).share(message); });
  round.run_until(Phase::kInputs);
  lied_to([&](const Bytes& message) { round.client(id).masked_input(message, round.input(id)); });
  round.run_until(Phase::kUnmasking);
  lied_to([&](const Bytes& message) { round.client(id).unmask(message); });
  EXPECT_TRUE(round.ends_well());
}

TEST(HostileServer, EveryBitOfForwardedSharesAndOfTheListOfSurvivorsCounts) {
  TestRound round(small(4));
  const std::uint64_t id = round.cohort()[3];
  round.run_until(Phase::kInputs);
  fewbits::test::flips(round.down(id), [&](Bytes changed, std::size_t at) {
    ASSERT_NE(refusal([&] { round.client(id).masked_input(changed, round.input(id)); }), std::nullopt) << at;
  });
  round.run_until(Phase::kUnmasking);
  fewbits::test::flips(round.down(id), [&](Bytes changed, std::size_t at) {
    ASSERT_NE(refusal([&] { round.client(id).unmask(changed); }), std::nullopt) << at;
  });
  EXPECT_TRUE(round.ends_well());
}

TEST(HostileServer, AListOfNeighboursMustBeSound) {
  TestRound round(small(5));
  round.run_until(Phase::kShares);
  const std::uint64_t id = round.cohort()[1];
  const Bytes good = round.down(id);
  const std::size_t count_at = kHeaderBytes + 2 * kKeyBytes, first = count_at + 4, second = first + kNeighbourEntry;
  const auto part = [&](std::size_t at, std::size_t size) {
    return Bytes(good.begin() + static_cast<std::ptrdiff_t>(at), good.begin() + static_cast<std::ptrdiff_t>(at + size));
  };
  const auto refused = [&](const Bytes& message, Errc code = Errc::kMalformed) {
    EXPECT_EQ(refusal([&] { round.client(id).share(message); }), code);
  };
  for (std::size_t at = kHeaderBytes; at < count_at; ++at) refused(with_bytes(good, at, {good[at] ^ std::byte{1}}));  // the echo
  refused(with_bytes(with_bytes(good, kHeaderBytes, part(kHeaderBytes + kKeyBytes, kKeyBytes)), kHeaderBytes + kKeyBytes,
                     part(kHeaderBytes, kKeyBytes)));
  refused(with_value(good, first, id));               // itself
  refused(with_bytes(good, second, part(first, 8)));  // one twice
  refused(
      with_bytes(with_bytes(good, second, part(first, kNeighbourEntry)), first, part(second, kNeighbourEntry)));  // not in order
  refused(with_bytes(good, first + 8, part(second + 8, kKeyBytes)));  // keys of another
  refused(with_bytes(good, first + 8 + kKeyBytes, part(second + 8 + kKeyBytes, kKeyBytes)));
  refused(with_bytes(good, first + 8, part(kHeaderBytes, kKeyBytes)));           // its own
  refused(with_bytes(good, first + 8 + kKeyBytes, part(first + 8, kKeyBytes)));  // one for both uses
  refused(with_bytes(good, first + 8, Bytes(kKeyBytes)));                        // of low order
  refused(with_bytes(good, first + 8 + kKeyBytes, Bytes(kKeyBytes)));
  refused(with_value(good, count_at, std::uint32_t{5}));                // more than agreed on
  refused(with_value(good, count_at, std::uint32_t{2}), Errc::kEmpty);  // fewer than the threshold
  refused(with_value(good, count_at, std::uint32_t{3}), Errc::kTrailingBytes);
  refused(with_value(good, count_at, ~std::uint32_t{0}));
  EXPECT_TRUE(round.ends_well());
}

TEST(HostileServer, SharesOfOthersOrOfAnotherRoundAreRefused) {
  TestRound round(small(5)), later([] {
    Settings settings = small(5);
    settings.round = 4;
    return settings;
  }());  // the same keys, since randomness begins at the same place
  round.run_until(Phase::kInputs);
  later.run_until(Phase::kInputs);
  const std::uint64_t id = round.cohort()[1], other = round.cohort()[0];
  const Bytes good = round.down(id);
  const auto entry = [](const Bytes& message, std::size_t i) {
    const auto at = static_cast<std::ptrdiff_t>(kHeaderBytes + 1 + i * kShareEntry);
    return Bytes(message.begin() + at, message.begin() + at + kShareEntry);
  };
  const auto refused = [&](const Bytes& changed) {
    EXPECT_EQ(refusal([&] { round.client(id).masked_input(with_bytes(good, kHeaderBytes + 1, changed), round.input(id)); }),
              Errc::kChecksumMismatch);
  };
  refused(entry(good, 1));
  refused(entry(round.down(other), 0));
  refused(entry(later.down(id), 0));
  EXPECT_TRUE(round.ends_well());
}

TEST(HostileServer, AClientRevealsOneListOnceAndNeverTwoKindsOfShares) {
  Settings settings = small(6);
  TestRound round(settings);
  round.run_until(Phase::kUnmasking);
  const std::uint64_t id = round.cohort()[1];
  Client& client = round.client(id);
  const std::size_t count = settings.clients - 1, fates = kHeaderBytes + 4;
  const Bytes good = round.down(id);
  const auto list = [&](std::uint32_t total, std::vector<unsigned> of) {
    Bytes message = with_value(good, kHeaderBytes, total);
    for (std::size_t i = 0; i < of.size(); ++i) message[fates + i] = static_cast<std::byte>(of[i]);
    return message;
  };
  ASSERT_EQ(round.settings().threshold, 4u);
  EXPECT_EQ(refusal([&] { client.unmask(list(4, {1, 1, 1, 2, 2})); }), Errc::kEmpty);      // fewer than the threshold
  EXPECT_EQ(refusal([&] { client.unmask(list(2, {1, 2, 2, 2, 2})); }), Errc::kEmpty);      // than min_cohort
  EXPECT_EQ(refusal([&] { client.unmask(list(6, {1, 1, 1, 1, 3})); }), Errc::kMalformed);  // both
  EXPECT_EQ(refusal([&] { client.unmask(list(6, {1, 1, 1, 1, 0})); }), Errc::kMalformed);  // has shared
  EXPECT_EQ(refusal([&] { client.unmask(list(5, {1, 1, 1, 1, 1})); }), Errc::kMalformed);  // who is left then?
  EXPECT_EQ(refusal([&] { client.unmask(list(7, {1, 1, 1, 1, 1})); }), Errc::kMalformed);
  EXPECT_EQ(refusal([&] { client.unmask(list(~0u, {1, 1, 1, 1, 1})); }), Errc::kMalformed);
  const Bytes revealed = client.unmask(list(5, {2, 1, 1, 1, 1}));
  EXPECT_EQ(revealed.size(), kHeaderBytes + count * kKeyBytes);
  EXPECT_EQ(refusal([&] { client.unmask(good); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { client.unmask(list(5, {2, 1, 1, 1, 1})); }), Errc::kBadArgument);
}

TEST(HostileServer, MinCohortIsTheClientsOwn) {
  Settings settings = small(12, 10);
  settings.min_cohort = 11;
  settings.neighbours = 6;
  TestRound round(settings);
  round.run_until(Phase::kUnmasking);
  const std::uint64_t id = round.cohort()[1];
  EXPECT_EQ(refusal([&] { round.client(id).unmask(with_value(round.down(id), kHeaderBytes, std::uint32_t{10})); }), Errc::kEmpty);
  EXPECT_EQ(refusal([&] { round.client(id).unmask(with_value(round.down(id), kHeaderBytes, std::uint32_t{13})); }),
            Errc::kMalformed);
  EXPECT_TRUE(round.ends_well());
}

TEST(HostileServer, FewerSharesThanTheThresholdGetNoInput) {
  Settings settings = small(5);
  TestRound round(settings);
  round.run_until(Phase::kInputs);
  const std::uint64_t id = round.cohort()[1];
  const Bytes good = round.down(id);
  Bytes two = Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(kHeaderBytes + 1 + 2 * kShareEntry));
  two[kHeaderBytes] = std::byte{3};
  EXPECT_EQ(refusal([&] { round.client(id).masked_input(two, round.input(id)); }), Errc::kEmpty);
  two[kHeaderBytes] = std::byte{0x11};  // of four neighbours the fifth
  EXPECT_EQ(refusal([&] { round.client(id).masked_input(two, round.input(id)); }), Errc::kMalformed);
  EXPECT_TRUE(round.ends_well());
}

TEST(Client, AnswersInOrderAndOnce) {
  TestRound round(small(4));
  const std::uint64_t id = round.cohort()[0];
  Client& client = round.client(id);
  const auto none = [&](auto... calls) {
    for (const std::optional<Errc>& code : {refusal(calls)...}) EXPECT_EQ(code, Errc::kBadArgument);
  };
  const auto advertise = [&] { client.advertise(); };
  const auto share = [&] { client.share(round.down(id)); };
  const auto input = [&] { client.masked_input(round.down(id), round.input(id)); };
  const auto unmask = [&] { client.unmask(round.down(id)); };
  none([&] { client.share({}); }, [&] { client.masked_input({}, round.input(id)); }, [&] { client.unmask({}); });
  round.run_until(Phase::kShares);
  none(advertise, input, unmask);
  round.run_until(Phase::kInputs);
  none(advertise, share, unmask);
  none([&] { client.masked_input(round.down(id), std::span(round.input(id)).first(99)); });
  auto wide = round.input(id);
  wide[50] = 1u << 11;
  none([&] { client.masked_input(round.down(id), wide); });
  const auto at = round.down(id);
  round.run_until(Phase::kUnmasking);
  none(advertise, share, input, [&] { client.masked_input(at, round.input(id)); });
  EXPECT_TRUE(round.ends_well());
  none(advertise, share, input, unmask);
}

TEST(Settings, WhatCannotBeIsRefused) {
  const auto refused = [](const std::function<void(Settings&)>& change) {
    Settings settings = small(10);
    change(settings);
    EXPECT_EQ(refusal([&] { settings.resolved(); }), Errc::kBadArgument);
  };
  EXPECT_NO_THROW(small(10).resolved());
  refused([](Settings& s) { s.length = 0; });
  refused([](Settings& s) { s.length = std::size_t{1} << 32; });
  refused([](Settings& s) { s.bits = 0; });
  refused([](Settings& s) { s.bits = 33; });
  refused([](Settings& s) { s.min_cohort = 2; });
  refused([](Settings& s) { s.min_cohort = 11; });
  refused([](Settings& s) { s.clients = 2; });
  refused([](Settings& s) { s.clients = 100'001; });
  refused([](Settings& s) { s.clients = 1000, s.neighbours = 256; });
  refused([](Settings& s) { s.neighbours = 10; });
  refused([](Settings& s) { s.neighbours = 1; });
  refused([](Settings& s) { s.neighbours = 7; });  // not all others, and odd
  refused([](Settings& s) { s.threshold = 10; });
  refused([](Settings& s) { s.clients = 11, s.threshold = 5; });  // 5 neighbours of 10 hear one thing, 5 the other
  Settings most = small(1000);
  most.neighbours = kMaxNeighbours;
  EXPECT_EQ(most.resolved().threshold, 170u);
  const std::uint64_t twice[] = {1, 2, 2}, few[] = {1, 2};
  test::SeededRandom random(1);
  EXPECT_EQ(refusal([&] { Server(small(3), twice, random); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { Server(small(3), few, random); }), Errc::kBadArgument);
}

TEST(Memory, DoesNotGrowWithTheInputsNorWithWhatMessagesClaim) {
  constexpr std::size_t kLength = 1 << 18;
  TestRound round(small(6, kLength, 11));
  round.run_until(Phase::kInputs);
  const auto sent = round.answers();
  {
    const PeakAllocation peak;
    for (const auto& [id, bytes] : sent) round.server().receive(id, bytes);
    EXPECT_LE(peak.bytes(), 10'000u);
  }
  round.close();
  round.deliver(round.answers());
  const PeakAllocation peak;
  const auto sum = round.server().sum();
  EXPECT_LE(peak.bytes(), 4 * kLength + 500'000);
  EXPECT_EQ(sum, round.plain_sum());

  TestRound fresh(small(5));
  fresh.run_until(Phase::kShares);
  const std::uint64_t id = fresh.cohort()[0];
  const Bytes huge = with_value(fresh.down(id), kHeaderBytes + 2 * kKeyBytes, ~std::uint32_t{0});
  const PeakAllocation claim;
  EXPECT_NE(refusal([&] { fresh.client(id).share(huge); }), std::nullopt);
  EXPECT_LE(claim.bytes(), 10'000u);
}

}  // namespace
}  // namespace fewbits::secure
