#include "kernels/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "fewbits/codec.h"
#include "stage.h"
#include "tests/kernels/binomial.h"
#include "tests/kernels/format_model.h"

namespace fewbits {
namespace {

// The words of xoshiro128++ from the state 1, 2, 3, 4, as its authors' C code prints them; the first is
// rotl(1 + 4, 7) + 1 = 641.
TEST(FormatModel, StepsAsThePublishedGenerator) {
  format_model::Xoshiro generator{{1, 2, 3, 4}};
  for (const std::uint32_t word : {641u, 1573767u, 3222811527u, 3517856514u, 836907274u, 4247214768u, 3867114732u,
                                   1355841295u, 495546011u, 621204420u})
    EXPECT_EQ(generator.next(), word);
}

// splitmix64 from the state 1234567 (Rosetta Code, and Java's SplittableRandom).
TEST(Mix, IsTheFinalizerOfSplitmix64) {
  std::uint64_t state = 1234567;
  for (const std::uint64_t word :
       {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u, 16408922859458223821u})
    EXPECT_EQ(mix64(state += kGoldenRatio), word);
}

TEST(StreamKey, IsTheOneOfTheFormatAndDependsOnEveryFieldAndItsPlace) {
  const std::vector<std::uint64_t> fields = {42, 3, 1, 17, 0, 2, 4};
  EXPECT_EQ(stream_key({42, 3, 1, 17, 0, 2, 4}), format_model::key(fields));
  std::set<std::uint64_t> keys = {format_model::key(fields)};
  for (std::size_t i = 0; i < fields.size(); ++i) {
    auto other = fields;
    other[i] += 1;
    EXPECT_TRUE(keys.insert(stream_key({other[0], other[1], other[2], other[3], other[4], other[5], other[6]})).second);
  }
  EXPECT_NE(stream_key({1, 2}), stream_key({2, 1}));
  EXPECT_NE(stream_key({0}), stream_key({0, 0}));
}

TEST(StageContext, KeysAreThoseOfTheFormat) {
  const StageContext context{{.seed = 42, .round = 3, .client = 17}, 5, 2, nullptr};
  EXPECT_EQ(context.key(true, Purpose::kRounding), format_model::key({42, 3, 1, 17, 5, 2, 4}));
  EXPECT_EQ(context.key(false, Purpose::kSigns), format_model::key({42, 3, 0, 0, 5, 2, 1}));
}

TEST(RandomStream, WordsAreThoseOfTheFormat) {
  for (const std::uint64_t key : {0ull, 1ull, 0x123456789ABCDEFull, ~0ull}) {
    format_model::Stream model(key);
    std::vector<std::uint32_t> words(5000);
    RandomStream(key).fill(0, words);
    for (std::size_t i = 0; i < words.size(); ++i) ASSERT_EQ(words[i], model.word(i)) << "key " << key << " word " << i;
  }
}

TEST(RandomStream, AnyStretchEqualsTheSequence) {
  const RandomStream stream(99);
  std::vector<std::uint32_t> all(3 * RandomStream::kBlockWords);
  stream.fill(0, all);
  for (const std::size_t first : {0, 1, 15, 16, 17, 2031, 2047, 2048, 2049, 4095, 4097})
    for (const std::size_t count : {0, 1, 2, 15, 16, 17, 33, 2047}) {
      std::vector<std::uint32_t> part(count);
      stream.fill(first, part);
      EXPECT_TRUE(std::ranges::equal(part, std::span(all).subspan(first, count))) << first << " + " << count;
    }
  for (const std::size_t i : {0, 5, 16, 2047, 2048, 6000}) EXPECT_EQ(stream.word(i), all[i]);
}

TEST(RandomStream, WordsFarAwayNeedNoneBefore) {
  constexpr std::uint64_t kFar = std::uint64_t{1} << 40;
  format_model::Stream model(7);
  for (const std::uint64_t i : {kFar, kFar + 1, kFar + 2047}) EXPECT_EQ(RandomStream(7).word(i), model.word(i));
}

TEST(RandomReader, ReadsTheStreamInOrder) {
  format_model::Stream model(5);
  RandomReader random(5);
  for (std::uint64_t i = 0; i < 4100; ++i) ASSERT_EQ(random.next(), model.word(i));
  RandomReader wide(5);
  EXPECT_EQ(wide.next64(), model.word(0) | static_cast<std::uint64_t>(model.word(1)) << 32);
  const double uniform = wide.uniform();
  const std::uint64_t word = model.word(2) | static_cast<std::uint64_t>(model.word(3)) << 32;
  EXPECT_EQ(uniform, static_cast<double>(word >> 11) / 9007199254740992.0);
}

// 100,000 draws, fixed key. A count whose exact binomial tail is under 1e-9 fails; 3 + 7 + 10 counts are looked at, so
// a fair generator fails with probability under 4e-8.
TEST(RandomReader, BelowIsUniform) {
  constexpr std::int64_t kDraws = 100'000;
  for (const std::uint64_t bound : {3, 7, 10}) {
    RandomReader random(stream_key({bound}));
    std::vector<std::int64_t> counts(bound);
    for (std::int64_t i = 0; i < kDraws; ++i) {
      const std::uint64_t value = random.below(bound);
      ASSERT_LT(value, bound);
      ++counts[value];
    }
    for (const std::int64_t count : counts)
      EXPECT_GE(test::binomial_tail(count, kDraws, 1.0 / static_cast<double>(bound)), 1e-9) << count << " of " << bound;
  }
}

// Each of the 32 bits over 2^17 words: an exact tail under 1e-10 fails, 32 bits on two sides.
TEST(RandomStream, EveryBitIsOneHalfOfTheTime) {
  std::vector<std::uint32_t> words(1 << 17);
  RandomStream(stream_key({2024})).fill(0, words);
  for (unsigned bit = 0; bit < 32; ++bit) {
    const auto ones = std::ranges::count_if(words, [&](std::uint32_t word) { return (word >> bit & 1) != 0; });
    EXPECT_GE(test::binomial_tail(ones, static_cast<std::int64_t>(words.size()), 0.5), 1e-10) << "bit " << bit;
  }
}

}  // namespace
}  // namespace fewbits
