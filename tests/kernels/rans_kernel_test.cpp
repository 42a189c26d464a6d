#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/rans.h"
#include "tests/engine/hostile.h"
#include "tests/engine/support.h"

namespace fewbits {
namespace {

struct Put {
  unsigned lane;
  RansInterval symbol;
};

double bits_of(std::uint32_t frequency) { return std::log2(static_cast<double>(kRansTotal) / frequency); }

std::vector<std::byte> write(std::span<const Put> puts, unsigned lanes) {
  double bits = 0;
  for (const Put& put : puts) bits += bits_of(put.symbol.frequency);
  const auto whole = static_cast<std::size_t>(std::ceil(bits));
  std::vector<std::uint16_t> room(RansWriter::words_for(whole));
  RansWriter writer(room);
  writer.begin(lanes);
  for (std::size_t i = puts.size(); i-- > 0;) writer.put(puts[i].lane, puts[i].symbol);
  std::vector<std::byte> out(writer.bytes());
  writer.finish(out);
  EXPECT_LE(out.size(), RansWriter::bytes_for(whole));
  return out;
}

// Whether bytes are those of a stream of `count` symbols of this cut of the total, and which symbols.
std::optional<std::vector<std::size_t>> read(std::span<const std::byte> bytes, std::size_t count, unsigned lanes,
                                             std::span<const std::uint32_t> starts) {
  RansReader reader(bytes);
  reader.begin(lanes);
  std::vector<std::size_t> symbols(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto lane = static_cast<unsigned>(i % lanes);
    const auto after = std::ranges::upper_bound(starts, reader.slot(lane));
    symbols[i] = static_cast<std::size_t>(after - starts.begin()) - 1;
    reader.advance(lane, {*(after - 1), *after - *(after - 1)});
  }
  if (!reader.ok()) return std::nullopt;
  return symbols;
}

std::vector<Put> puts_of(std::span<const std::size_t> symbols, unsigned lanes, std::span<const std::uint32_t> starts) {
  std::vector<Put> puts;
  for (std::size_t i = 0; i < symbols.size(); ++i)
    puts.push_back({static_cast<unsigned>(i % lanes),
                    {starts[symbols[i]], starts[symbols[i] + 1] - starts[symbols[i]]}});
  return puts;
}

// Borders 0 < … < kRansTotal of up to `symbols` intervals.
std::vector<std::uint32_t> random_cut(RandomReader& random, std::size_t symbols) {
  std::vector<std::uint32_t> starts = {0, kRansTotal};
  while (starts.size() <= symbols) starts.push_back(static_cast<std::uint32_t>(random.below(kRansTotal - 1)) + 1);
  std::ranges::sort(starts);
  starts.erase(std::ranges::unique(starts).begin(), starts.end());
  return starts;
}

class EveryLaneCount : public ::testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Lanes, EveryLaneCount, ::testing::Values(1u, 2u, 3u, 4u, 8u, 16u, 32u));

TEST_P(EveryLaneCount, WhatIsWrittenIsRead) {
  RandomReader random = test::reader(GetParam());
  for (const std::size_t count : {0, 1, 2, 3, 10, 31, 32, 33, 1000, 20'000}) {
    for (const std::size_t alphabet : {1, 2, 3, 17, 300}) {
      const auto starts = random_cut(random, alphabet);
      std::vector<std::size_t> symbols(count);
      for (std::size_t& symbol : symbols) symbol = random.below(starts.size() - 1);
      const auto bytes = write(puts_of(symbols, GetParam(), starts), GetParam());
      EXPECT_EQ(read(bytes, count, GetParam(), starts), symbols) << count << " of " << alphabet;
    }
  }
}

TEST_P(EveryLaneCount, BitsThatAreEquallyLikelyComeBackAndCostWhatTheyAre) {
  RandomReader random = test::reader(GetParam() + 100);
  constexpr std::size_t kCount = 4096;
  std::vector<std::uint32_t> values(kCount);
  std::vector<std::uint16_t> room(RansWriter::words_for(kCount * 8));
  RansWriter writer(room);
  writer.begin(GetParam());
  for (std::size_t i = kCount; i-- > 0;) {
    const auto bits = static_cast<unsigned>(i % 16);
    values[i] = random.next() & ((1u << bits) - 1);
    writer.put_bits(static_cast<unsigned>(i % GetParam()), values[i], bits);
  }
  std::vector<std::byte> bytes(writer.bytes());
  writer.finish(bytes);
  EXPECT_LE(bytes.size(), kCount * 15 / 16 + 4 * GetParam());
  RansReader reader(bytes);
  reader.begin(GetParam());
  for (std::size_t i = 0; i < kCount; ++i)
    ASSERT_EQ(reader.bits(static_cast<unsigned>(i % GetParam()), static_cast<unsigned>(i % 16)), values[i]) << i;
  EXPECT_TRUE(reader.ok());
}

// Every stream that a reader accepts is the one that a writer makes of what was read.
TEST_P(EveryLaneCount, OneSequenceHasOneEncoding) {
  RandomReader random = test::reader(GetParam() + 200);
  std::size_t accepted = 0;
  for (int round = 0; round < 300; ++round) {
    const auto starts = random_cut(random, 2 + random.below(5));
    const std::size_t count = random.below(60);
    std::vector<std::size_t> symbols(count);
    for (std::size_t& symbol : symbols) symbol = random.below(starts.size() - 1);
    const auto bytes = write(puts_of(symbols, GetParam(), starts), GetParam());
    const auto check = [&](const std::vector<std::byte>& other) {
      const auto back = read(other, count, GetParam(), starts);
      if (!back) return;
      ++accepted;
      EXPECT_EQ(write(puts_of(*back, GetParam(), starts), GetParam()), other);
    };
    test::flips(bytes, [&](const auto& flipped, std::size_t) { check(flipped); });
    test::truncations(bytes, [&](const auto& part) { check(part); });
    for (std::size_t length = 0; length < 8; ++length) {
      std::vector<std::byte> noise(length);
      for (std::byte& byte : noise) byte = static_cast<std::byte>(random.next());
      check(noise);
    }
    auto longer = bytes;
    for (int more = 0; more < 4; ++more) {
      longer.push_back(std::byte{0});
      check(longer);
    }
  }
  if (GetParam() == 1) {
    EXPECT_GT(accepted, 0u);   // a small stream is nearly full of streams
  }
}

TEST(Rans, SmallStreamsAreSmall) {
  const auto bits = [](std::size_t count) {
    std::vector<Put> puts(count, Put{0, {kRansTotal / 2, kRansTotal / 2}});
    return write(puts, 1).size();
  };
  EXPECT_EQ(bits(0), 0u);
  EXPECT_EQ(bits(1), 3u);
  EXPECT_EQ(bits(7), 3u);
  EXPECT_EQ(bits(8), 4u);
  EXPECT_EQ(bits(15), 4u);
  EXPECT_EQ(bits(16), 5u);
  EXPECT_EQ(write(std::vector<Put>(1000, Put{0, {0, kRansTotal}}), 1).size(), 0u);   // certain symbols
  EXPECT_EQ(write(std::vector<Put>(1000, Put{5, {0, kRansTotal}}), 32).size(), 0u);
}

TEST(Rans, AWriterAndAReaderThatNobodyBeganSayNothing) {
  RansWriter writer({});
  EXPECT_EQ(writer.bytes(), 0u);
  EXPECT_TRUE(RansReader({}).ok());
  EXPECT_FALSE(RansReader(test::bytes_of({1})).ok());
}

// The room of `words_for` for sequences that are as unlucky as can be: always the top of the total, in intervals of all
// sizes, chosen greedily to be the dearest for the state that they meet. `write` checks the room in debug builds and
// the length always.
TEST(Rans, TheRoomIsEnoughForTheUnluckiestSymbols) {
  RandomReader random = test::reader(7);
  for (const unsigned lanes : {1u, 32u}) {
    for (const std::uint32_t frequency : {1u, 2u, 3u, 100u, 1000u, 5000u, 10'923u, 16'384u, 20'000u, 30'000u, 32'767u}) {
      std::vector<Put> puts;
      for (std::size_t i = 0; i < 20'000; ++i)
        puts.push_back({static_cast<unsigned>(i % lanes), {kRansTotal - frequency, frequency}});
      write(puts, lanes);
    }
    std::vector<Put> mixed;
    for (std::size_t i = 0; i < 50'000; ++i) {
      const auto frequency = static_cast<std::uint32_t>(std::exp2(random.uniform() * 15));
      mixed.push_back({static_cast<unsigned>(i % lanes), {kRansTotal - frequency, frequency}});
    }
    write(mixed, lanes);
  }
  // Greedily, by the writer's own step.
  std::vector<Put> greedy;
  std::uint64_t state = kRansLow;
  double bits = 0;
  std::size_t words = 0;
  for (int i = 0; i < 5000; ++i) {
    double worst = -1;
    std::uint32_t chosen = 1;
    for (std::uint32_t frequency = 1; frequency < kRansTotal; frequency += 1 + frequency / 32) {
      const std::uint64_t x = state >= static_cast<std::uint64_t>(frequency) << 17 ? state >> 16 : state;
      const std::uint64_t next = (x / frequency << 15) + x % frequency + kRansTotal - frequency;
      const double loss = std::log2(static_cast<double>(next) / static_cast<double>(x)) - bits_of(frequency);
      const double per_bit = loss / bits_of(frequency);
      if (per_bit > worst) worst = per_bit, chosen = frequency;
    }
    if (state >= static_cast<std::uint64_t>(chosen) << 17) state >>= 16, ++words;
    state = (state / chosen << 15) + state % chosen + kRansTotal - chosen;
    bits += bits_of(chosen);
    greedy.push_back({0, {kRansTotal - chosen, chosen}});
  }
  std::ranges::reverse(greedy);
  write(greedy, 1);
  EXPECT_LE(words, RansWriter::words_for(static_cast<std::size_t>(bits)));
  EXPECT_LE(static_cast<double>(words), bits / 16 * 1.125 + 1);
  EXPECT_GE(static_cast<double>(words), bits / 16 * 1.005);   // unlucky indeed
}

}  // namespace
}  // namespace fewbits
