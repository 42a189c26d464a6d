#include "kernels/rans_models.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/tokens.h"
#include "tests/engine/support.h"

namespace fewbits {
namespace {

TEST(Log2Fixed, IsTheLogarithm) {
  RandomReader random = test::reader(1);
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t x = i < 100 ? static_cast<std::uint64_t>(i) + 1 : (random.next64() >> random.below(64)) | 1;
    const double want = std::log2(static_cast<double>(x)) * 65536;
    EXPECT_LE(static_cast<double>(log2_fixed(x)), want + 1e-3) << x;
    EXPECT_GE(static_cast<double>(log2_fixed(x)), want - 1.01) << x;
  }
}

// Never under the sum, and over it by less than two bits in a million symbols: a product of 32 bits is cut by 2^-31 at most.
TEST(CodeLength, IsTheSumOfLogarithms) {
  RandomReader random = test::reader(2);
  CodeLength length;
  double want = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const auto frequency = static_cast<std::uint32_t>(random.below(random.below(2) == 0 ? 100 : kRansTotal)) + 1;
    length.add({0, frequency});
    want += std::log2(static_cast<double>(kRansTotal) / frequency);
  }
  EXPECT_GE(static_cast<double>(length.bits()), want - 1e-3);
  EXPECT_LE(static_cast<double>(length.bits()), want + 2);
}

// Whatever it follows, each token keeps an interval, and they fill the total.
void expect_intervals(const std::function<RansInterval(std::size_t)>& interval, std::size_t tokens) {
  std::uint32_t end = 0;
  for (std::size_t token = 0; token < tokens; ++token) {
    const RansInterval one = interval(token);
    ASSERT_EQ(one.start, end);
    ASSERT_GE(one.frequency, 1u);
    end += one.frequency;
  }
  ASSERT_EQ(end, kRansTotal);
}

TEST(AdaptiveModel, IntervalsFillTheTotalAndAreFound) {
  RandomReader random = test::reader(3);
  for (const std::size_t tokens : {2, 3, 4, 5, 16, 33, 256, 513})
    for (const bool smooth : {false, true})
      for (const bool fast : {false, true}) {
        std::vector<std::uint32_t> memory(AdaptiveModel::words_for(2, tokens), 0xABABABAB);
        AdaptiveModel model(memory, tokens, {.smooth = smooth, .fast = fast});
        for (int i = 0; i < 6000; ++i) {
          const std::size_t context = i % 2;
          const std::size_t token = i < 3000 ? tokens - 1 : random.below(tokens);
          if (i % 300 == 0 || i < 5)
            expect_intervals([&](std::size_t t) { return model.interval(context, t); }, tokens);
          const RansInterval interval = model.interval(context, token);
          RansInterval found;
          ASSERT_EQ(model.token_at(context, interval.start, found), token);
          ASSERT_EQ(model.token_at(context, interval.start + interval.frequency - 1, found), token);
          ASSERT_EQ(found.start, interval.start);
          ASSERT_EQ(found.frequency, interval.frequency);
          model.follow(context, token);
        }
      }
}

// Of n tokens seen, c of one: c/n of the own distribution, which has n/(n + 4) of the whole, and about c/(n + 2) of the
// shared one.
TEST(AdaptiveModel, LearnsWhatItSees) {
  std::vector<std::uint32_t> memory(AdaptiveModel::words_for(1, 4));
  AdaptiveModel model(memory, 4, {});
  constexpr int kSeen = 1000;
  for (int i = 0; i < kSeen; ++i) model.follow(0, i % 10 == 0 ? 2 : 1);
  const auto chance = [&](std::size_t token) { return model.interval(0, token).frequency / static_cast<double>(kRansTotal); };
  EXPECT_NEAR(chance(1), 0.9, 0.002);
  EXPECT_NEAR(chance(2), 0.1, 0.002);
  EXPECT_LE(chance(0), 0.001);
}

// A context that was never seen knows what the others saw.
TEST(AdaptiveModel, ANewContextBeginsWithWhatAllShare) {
  std::vector<std::uint32_t> memory(AdaptiveModel::words_for(2, 4));
  AdaptiveModel model(memory, 4, {});
  for (int i = 0; i < 1000; ++i) model.follow(0, 3);
  EXPECT_GE(model.interval(1, 3).frequency, kRansTotal * 99 / 100);
  for (int i = 0; i < 4; ++i) model.follow(1, 0);
  EXPECT_GE(model.interval(1, 0).frequency, kRansTotal * 45 / 100);
  EXPECT_LE(model.interval(0, 0).frequency, kRansTotal / 100);
}

TEST(AdaptiveModel, NeighboursOfWhatIsSeenAreLikelierWhereItIsSmooth) {
  for (const bool smooth : {false, true}) {
    std::vector<std::uint32_t> memory(AdaptiveModel::words_for(1, 64));
    AdaptiveModel model(memory, 64, {.smooth = smooth});
    model.follow(0, 30);
    EXPECT_EQ(model.interval(0, 33).frequency > 2 * model.interval(0, 50).frequency, smooth);
  }
}

TEST(AdaptiveModel, AFastOneForgetsInSomeHundredsOfTokens) {
  std::vector<std::uint32_t> fast_memory(AdaptiveModel::words_for(1, 2)), slow_memory(fast_memory);
  AdaptiveModel fast(fast_memory, 2, {.fast = true}), slow(slow_memory, 2, {});
  for (int i = 0; i < 5000; ++i) fast.follow(0, 0), slow.follow(0, 0);
  for (int i = 0; i < 256; ++i) fast.follow(0, 1), slow.follow(0, 1);
  // 1 − e^-1 and 1 − e^-(256/4096).
  EXPECT_NEAR(fast.interval(0, 1).frequency / static_cast<double>(kRansTotal), 0.632, 0.01);
  EXPECT_NEAR(slow.interval(0, 1).frequency / static_cast<double>(kRansTotal), 0.0606, 0.01);
}

TEST(CountTable, RoundedCountsAreTheLeastOfTheirKindAndWeightsTheirMean) {
  for (std::uint32_t count = 1; count < 5000; ++count) {
    const std::uint32_t rounded = count_table::rounded(count);
    EXPECT_LE(rounded, count);
    EXPECT_EQ(count_table::rounded(rounded), rounded);
    EXPECT_EQ(std::bit_width(rounded), std::bit_width(count));
    EXPECT_EQ(count_table::weight(rounded), count_table::weight(count));
    std::uint32_t last = count;
    while (count_table::rounded(last + 1) == rounded) ++last;
    EXPECT_EQ(count_table::weight(count), static_cast<std::uint64_t>(rounded) + last);
  }
  EXPECT_EQ(count_table::rounded(0), 0u);
  EXPECT_EQ(count_table::weight(0), 0u);
  EXPECT_EQ(count_table::weight(0xFFFFFFFF), 0xFFFFFFFFull + count_table::rounded(0xFFFFFFFF));
}

std::vector<std::uint32_t> random_counts(RandomReader& random, std::size_t tokens) {
  std::vector<std::uint32_t> counts(tokens);
  for (auto& count : counts) count = random.below(3) == 0 ? 0 : random.next() >> random.below(32);
  counts[random.below(tokens)] = random.next() | 1;
  return counts;
}

TEST(CountTable, BordersGiveEachTokenThatOccursItsShare) {
  RandomReader random = test::reader(4);
  for (int round = 0; round < 500; ++round) {
    const auto counts = random_counts(random, 2 + random.below(512));
    std::vector<std::uint16_t> borders(counts.size() + 1, 7);
    count_table::borders(counts, borders);
    ASSERT_EQ(borders.front(), 0u);
    ASSERT_EQ(borders.back(), kRansTotal);
    double total = 0;
    for (const std::uint32_t count : counts) total += static_cast<double>(count_table::weight(count));
    for (std::size_t token = 0; token < counts.size(); ++token) {
      const int frequency = borders[token + 1] - borders[token];
      if (counts[token] == 0) {
        ASSERT_EQ(frequency, 0);
        continue;
      }
      ASSERT_GE(frequency, 1);
      // Within 1 of the share, of which up to 512 of 32768 go to rare tokens.
      const double share = static_cast<double>(count_table::weight(counts[token])) / total * kRansTotal;
      ASSERT_LE(frequency, std::max(1.0, share + 1));
      ASSERT_GE(frequency, std::min(1.0, share) + (share > 2 ? share * (1 - 512. / kRansTotal) - 2 : 0));
    }
  }
}

// What the rounding of counts costs: less than a bit a token, as they are written with so many bits.
TEST(CountTable, RoundingCostsLessThanABitAToken) {
  RandomReader random = test::reader(5);
  for (int round = 0; round < 200; ++round) {
    const std::size_t tokens = 2 + random.below(40);
    std::vector<std::uint32_t> counts(tokens);
    for (auto& count : counts) count = 1 + static_cast<std::uint32_t>(random.below(1u << (4 + random.below(9))));
    double total = 0, weights = 0;
    for (const auto count : counts) total += count, weights += static_cast<double>(count_table::weight(count));
    double loss = 0;
    for (const auto count : counts)
      loss += count * std::log2(count / total / (static_cast<double>(count_table::weight(count)) / weights));
    EXPECT_GE(loss, 0);
    EXPECT_LE(loss, static_cast<double>(tokens));
  }
}

TEST(CountTable, WhatIsWrittenIsRead) {
  RandomReader random = test::reader(6);
  for (int round = 0; round < 100; ++round) {
    std::uint32_t memory[FollowingModel::words_for(count_table::kWidths)];
    FollowingModel widths{memory};
    widths.begin();
    std::vector<RansInterval> log;
    std::vector<std::vector<std::uint32_t>> tables(3);
    for (auto& counts : tables) {
      counts = random_counts(random, 2 + random.below(100));
      count_table::write(counts, widths, [&](RansInterval symbol) { log.push_back(symbol); });
    }
    std::vector<std::uint16_t> room(10'000);
    RansWriter writer(room);
    for (std::size_t i = log.size(); i-- > 0;) writer.put(0, log[i]);
    std::vector<std::byte> bytes(writer.bytes());
    writer.finish(bytes);
    RansReader reader(bytes);
    reader.begin(1);
    widths.begin();
    for (auto& counts : tables) {
      std::vector<std::uint32_t> back(counts.size(), 1);
      count_table::read(reader, widths, back);
      for (auto& count : counts) count = count_table::rounded(count);
      ASSERT_EQ(back, counts);
    }
    EXPECT_TRUE(reader.ok());
  }
}

TEST(Tokens, EverySymbolIsItsTokenAndBits) {
  RandomReader random = test::reader(7);
  for (const std::uint64_t alphabet : {2ull, 3ull, 511ull, 512ull, 513ull, 1000ull, 65536ull, 100'000ull, 1ull << 31, 1ull << 32})
    for (const bool classes : {false, true})
      for (const bool frequent : {false, true}) {
        if (alphabet <= Tokens::kDirect && (classes || frequent)) continue;
        const auto value = static_cast<std::uint32_t>(random.below(alphabet));
        const Tokens tokens(alphabet, {classes, frequent, value});
        EXPECT_LE(tokens.count(), Tokens::kMost);
        std::size_t before = 0;
        for (int i = 0; i < 3000; ++i) {
          std::uint64_t symbol = i < 700 ? static_cast<std::uint64_t>(i) : random.next() >> random.below(32);
          if (i == 2998) symbol = alphabet - 1;
          if (i == 2999) symbol = value;
          if (symbol >= alphabet) continue;
          const auto number = static_cast<std::uint32_t>(symbol);
          const std::size_t token = tokens.token(number);
          ASSERT_LT(token, tokens.count());
          ASSERT_EQ(tokens.is_frequent(token), frequent && number == value);
          ASSERT_GE(number, tokens.first_symbol(token));
          ASSERT_LT(static_cast<std::uint64_t>(number - tokens.first_symbol(token)), 1ull << tokens.raw_bits(token));
          if (alphabet <= Tokens::kDirect) {
            ASSERT_EQ(token, number);
          }
          if (i < 700 && !frequent) {   // small symbols follow one another
            ASSERT_LE(token - before, 1u);
            before = token;
          }
        }
      }
  // The classes: one for each symbol below 16, and 8 to each power of two.
  const Tokens classes(1ull << 32, {.classes = true});
  EXPECT_EQ(classes.count(), 240u);
  EXPECT_EQ(classes.token(15), 15u);
  EXPECT_EQ(classes.token(16), 16u);
  EXPECT_EQ(classes.raw_bits(16), 1u);
  EXPECT_EQ(classes.token(0xFFFFFFFF), 239u);
  EXPECT_EQ(classes.raw_bits(239), 28u);
  // A float32's sign and exponent.
  EXPECT_EQ(Tokens(1ull << 32, {}).token(std::bit_cast<std::uint32_t>(-1.5f)), 256u + 127u);
}

}  // namespace
}  // namespace fewbits
