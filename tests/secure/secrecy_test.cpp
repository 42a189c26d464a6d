#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/kernels.h"
#include "secure/masks.h"
#include "secure/messages.h"
#include "tests/secure/round.h"

// What the server sees says nothing of a single client. Fixed seeds: deterministic.
namespace fewbits::secure {
namespace {

using test::small;
using test::TestRound;

// The words of a masked input.
std::vector<std::uint32_t> words_of(const Bytes& message, const Settings& settings) {
  std::vector<std::int32_t> symbols(settings.length);
  const std::span<const std::byte> packed(message.data() + kHeaderBytes, message.size() - kHeaderBytes);
  for (std::size_t at = 0; at < symbols.size(); at += kPackedWords) {
    const auto now = std::span(symbols).subspan(at, std::min(kPackedWords, symbols.size() - at));
    EXPECT_TRUE(kernels::unpack(packed.subspan(at / 8 * settings.bits, kernels::packed_bytes(now.size(), settings.bits)),
                                settings.bits, now));
  }
  return {symbols.begin(), symbols.end()};
}

// Standard deviations that a chi-square sum of uniform counts is away from its mean.
double chi_square(std::span<const std::size_t> counts) {
  double total = 0;
  for (const std::size_t count : counts) total += static_cast<double>(count);
  const double expected = total / static_cast<double>(counts.size());
  double sum = 0;
  for (const std::size_t count : counts)
    sum += (static_cast<double>(count) - expected) * (static_cast<double>(count) - expected) / expected;
  const auto degrees = static_cast<double>(counts.size() - 1);
  return (sum - degrees) / std::sqrt(2 * degrees);
}

std::map<std::uint64_t, std::vector<std::uint32_t>> masked(TestRound& round) {
  round.run_until(Phase::kInputs);
  std::map<std::uint64_t, std::vector<std::uint32_t>> all;
  for (const auto& [id, message] : round.answers()) all[id] = words_of(message, round.settings());
  return all;
}

// Correlation of centred words times √n: normal with variance 1 where there is none.
double correlation(const std::vector<std::uint32_t>& a, const std::vector<std::uint32_t>& b, unsigned bits) {
  const double middle = (std::ldexp(1, static_cast<int>(bits)) - 1) / 2,
               variance = (std::ldexp(1, 2 * static_cast<int>(bits)) - 1) / 12;
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (static_cast<double>(a[i]) - middle) * (static_cast<double>(b[i]) - middle);
  return sum / variance / std::sqrt(static_cast<double>(a.size()));
}

TEST(Secrecy, MaskedWordsAreUniform) {
  for (const unsigned bits : {3u, 8u, 11u, 16u, 20u}) {
    TestRound round(small(3, 1 << 16, bits), bits);
    for (const std::uint64_t id : round.cohort()) std::ranges::fill(round.input(id), 1u);  // the same everywhere
    for (const auto& [id, words] : masked(round)) {
      // By their low bits and by their high bits.
      const unsigned used = std::min(bits, 8u);
      std::vector<std::size_t> low(std::size_t{1} << used), high(low.size());
      for (const std::uint32_t word : words) {
        ++low[word & ((1u << used) - 1)];
        ++high[word >> (bits - used)];
      }
      // 6 standard deviations of a chi-square sum with 7 degrees or more: less than one in 10^4 of correct codecs.
      EXPECT_LT(chi_square(low), 6) << bits << " bits";
      EXPECT_LT(chi_square(high), 6) << bits << " bits";
    }
  }
}

TEST(Secrecy, MaskedInputsOfClientsAndRoundsAreNotCorrelated) {
  constexpr unsigned kBits = 11;
  // Three rounds whose clients have the same randomness, as after a restart, and so the same keys: the round alone makes masks
  // differ.
  std::vector<std::vector<std::uint32_t>> all;
  for (const std::uint32_t number : {3u, 4u, 5u}) {
    Settings settings = small(4, 1 << 16, kBits);
    settings.round = number;
    TestRound round(settings);
    for (const std::uint64_t id : round.cohort()) std::ranges::fill(round.input(id), 700u);
    for (auto& [id, words] : masked(round)) all.push_back(std::move(words));
  }
  for (std::size_t a = 0; a < all.size(); ++a)
    for (std::size_t b = 0; b < a; ++b) EXPECT_LT(std::abs(correlation(all[a], all[b], kBits)), 5) << a << ' ' << b;
}

TEST(Secrecy, LanesOfOneMaskAreNotThoseOfAnother) {
  constexpr std::size_t kLength = 1 << 14;
  const Round round(small(4, kLength, 16).resolved());
  test::SeededRandom random(8);
  const Secret key = Secret::drawn(random);
  std::vector<std::vector<std::uint32_t>> streams;
  const std::vector<std::uint32_t> zeros(kLength);
  for (const Secret& mask_key :
       {round.self_mask(key, 1), round.self_mask(key, 2), round.pair_mask(key, 1, 2), round.pair_mask(key, 1, 3)}) {
    Bytes bytes(kHeaderBytes + kernels::packed_bytes(kLength, 16));
    const Mask one[] = {{mask_key, false}};
    mask(zeros, 16, one, std::span(bytes).subspan(kHeaderBytes), nullptr);
    streams.push_back(words_of(bytes, round.settings()));
  }
  for (std::size_t a = 0; a < streams.size(); ++a)
    for (std::size_t b = 0; b < a; ++b) EXPECT_LT(std::abs(correlation(streams[a], streams[b], 16)), 5);
  EXPECT_EQ(round.pair_mask(key, 1, 2).bytes, round.pair_mask(key, 2, 1).bytes);
}

// One mask's lanes are the key stream as it is: another language can make them (docs/frame-format.md).
TEST(Secrecy, AMaskIsTheKeyStreamOfChaCha20) {
  // RFC 8439, A.1, vector 1: key and nonce zero, counter 0.
  const unsigned wanted[] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90};
  std::vector<std::uint32_t> zeros(4);
  const Mask one[] = {{Secret(), false}}, other[] = {{Secret(), true}};
  Bytes bytes(8);
  mask(zeros, 16, one, bytes, nullptr);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(std::to_integer<unsigned>(bytes[i]), wanted[i]);
  zeros.resize(2);
  mask(zeros, 32, one, bytes, nullptr);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(std::to_integer<unsigned>(bytes[i]), wanted[i]);
  mask(zeros, 32, other, bytes, nullptr);
  std::uint32_t word;
  std::memcpy(&word, bytes.data(), 4);
  EXPECT_EQ(word, 0u - 0xADE0B876u);
}

// However long: no part of the stream is used twice, in whatever parts it is expanded.
TEST(Secrecy, AMaskIsOneStreamToItsEnd) {
  constexpr std::size_t kLength = 3 * 65536 + 77;
  test::SeededRandom random(12);
  const Mask one[] = {{Secret::drawn(random), false}};
  const std::vector<std::uint32_t> zeros(kLength);
  for (const unsigned bits : {16u, 32u}) {
    Bytes bytes(kernels::packed_bytes(kLength, bits)), stream(bytes.size());
    mask(zeros, bits, one, bytes, nullptr);
    KeyStream whole;
    whole.start(one[0].key, 0);
    whole.next(stream);
    std::vector<std::uint32_t> wanted(kLength);
    for (std::size_t i = 0; i < kLength; ++i) std::memcpy(&wanted[i], stream.data() + i * bits / 8, bits / 8);
    std::vector<std::int32_t> symbols(kLength);
    for (std::size_t at = 0; at < kLength; at += kPackedWords) {
      const auto now = std::span(symbols).subspan(at, std::min(kPackedWords, kLength - at));
      ASSERT_TRUE(kernels::unpack(std::span(bytes).subspan(at / 8 * bits, kernels::packed_bytes(now.size(), bits)), bits, now));
    }
    ASSERT_TRUE(std::equal(symbols.begin(), symbols.end(), wanted.begin(),
                           [](std::int32_t a, std::uint32_t b) { return static_cast<std::uint32_t>(a) == b; }));
  }
}

// With the shares of t − 1 neighbours, of both kinds, and all messages, no client's seed and no mask key is found.
TEST(Secrecy, FewerSharesThanTheThresholdOpenNothing) {
  test::SeededRandom random(4);
  const Round round(small(10).resolved());
  const std::size_t threshold = round.settings().threshold;
  ASSERT_EQ(threshold, 7u);
  for (int trial = 0; trial < 50; ++trial) {
    const Secret seed = Secret::drawn(random);
    const auto shares = split(seed, threshold, 9, random);
    const Digest commitment = round.seed_commitment(seed, 5);
    std::vector<Point> points;
    for (const std::size_t i : {1, 3, 4, 5, 6, 8}) points.push_back({static_cast<std::uint8_t>(i + 1), shares[i]});
    EXPECT_NE(round.seed_commitment(joined(points), 5), commitment);  // a polynomial of lower degree
    // Any value of a seventh share is possible, and each opens another seed: so the six say nothing.
    Secret guess = Secret::drawn(random);
    points.push_back({1, guess});
    const Secret first = joined(points);
    EXPECT_NE(round.seed_commitment(first, 5), commitment);
    guess.bytes[7] ^= std::byte{1};
    points.back() = {1, guess};
    EXPECT_NE(joined(points).bytes[7], first.bytes[7]);
    points.back() = {1, shares[0]};
    EXPECT_EQ(round.seed_commitment(joined(points), 5), commitment);
  }
}

TEST(Secrecy, TheServerThatGetsFewerSharesOpensNothing) {
  TestRound round(small(10));
  round.run_until(Phase::kUnmasking);
  // Of the client cohort[0] six neighbours' shares come, of the others' seeds as many or fewer.
  for (std::size_t i = 0; i < 7; ++i) round.server().receive(round.cohort()[i], round.answer(round.cohort()[i]));
  EXPECT_EQ(fewbits::test::refusal([&] { round.server().sum(); }), Errc::kEmpty);
  round.server().receive(round.cohort()[7], round.answer(round.cohort()[7]));
  EXPECT_EQ(round.server().sum(), round.plain_sum());
}

TEST(Sharing, AnyThresholdOfTheSharesOpens) {
  test::SeededRandom random(2);
  for (const auto& [threshold, count] : {std::pair(2, 2), {2, 3}, {7, 9}, {67, 99}, {170, 254}}) {
    const Secret secret = Secret::drawn(random);
    const auto shares = split(secret, static_cast<std::size_t>(threshold), static_cast<std::size_t>(count), random);
    ASSERT_EQ(shares.size(), static_cast<std::size_t>(count));
    std::vector<Point> points;
    for (int i = count - threshold; i < count; ++i)
      points.push_back({static_cast<std::uint8_t>(i + 1), shares[static_cast<std::size_t>(i)]});
    std::ranges::reverse(points);
    EXPECT_EQ(joined(points).bytes, secret.bytes);
  }
}

// Shares are those of the field with x^8 + x^4 + x^3 + x + 1, computed here without tables: another library can join them.
TEST(Sharing, IsShamirsOverTheFieldOfAes) {
  const auto times = [](unsigned a, unsigned b) {
    unsigned product = 0;
    for (; b != 0; b >>= 1, a = a << 1 ^ ((a & 0x80) != 0 ? 0x11B : 0))
      if ((b & 1) != 0) product ^= a;
    return product;
  };
  const auto inverse = [&](unsigned a) {
    unsigned power = a;  // a^254
    for (int i = 0; i < 6; ++i) power = times(times(power, power), a);
    return times(power, power);
  };
  test::SeededRandom random(6);
  const Secret secret = Secret::drawn(random);
  const auto shares = split(secret, 3, 5, random);
  const unsigned at[] = {2, 3, 5};
  for (std::size_t byte = 0; byte < kKeyBytes; ++byte) {
    unsigned sum = 0;
    for (const unsigned i : at) {
      unsigned term = std::to_integer<unsigned>(shares[i - 1].bytes[byte]);
      for (const unsigned j : at)
        if (j != i) term = times(term, times(j, inverse(i ^ j)));
      sum ^= term;
    }
    ASSERT_EQ(sum, std::to_integer<unsigned>(secret.bytes[byte]));
  }
}

}  // namespace
}  // namespace fewbits::secure
