#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/random.h"
#include "kernels/rans.h"
#include "kernels/targets.h"

namespace fewbits {
namespace {

using Borders = std::array<std::uint16_t, kRansTableSymbols + 1>;

RansInterval interval(const Borders& borders, std::int32_t symbol) {
  const auto at = static_cast<std::size_t>(symbol);
  return {borders[at], static_cast<std::uint32_t>(borders[at + 1] - borders[at])};
}

std::vector<std::byte> written(const Borders& borders, std::span<const std::int32_t> symbols, bool at_once) {
  std::vector<std::uint16_t> room(RansWriter::words_for(symbols.size() * kRansBits));
  RansWriter writer(room);
  writer.begin(kMaxRansLanes);
  std::size_t left = symbols.size();
  const auto put = [&] { --left, writer.put(left % kMaxRansLanes, interval(borders, symbols[left])); };
  while (left % kMaxRansLanes != 0) put();
  if (at_once) left = writer.put_table(borders, symbols.first(left));
  while (left != 0) put();
  std::vector<std::byte> out(writer.bytes());
  writer.finish(out);
  return out;
}

// What is read of any bytes, and whether they are a stream.
std::pair<std::vector<std::int32_t>, bool> read(const Borders& borders, std::span<const std::byte> bytes, std::size_t n,
                                                bool at_once) {
  std::vector<std::int32_t> symbols(n, -1);
  RansReader reader(bytes);
  reader.begin(kMaxRansLanes);
  std::size_t i = 0;
  std::array<std::uint32_t, kRansTableSymbols> counts = {};
  if (at_once) i = reader.take_table(borders, symbols, counts);
  for (std::size_t j = 0; j < i; ++j) --counts[static_cast<std::size_t>(symbols[j])];
  EXPECT_EQ(counts, (std::array<std::uint32_t, kRansTableSymbols>{}));
  for (; i < n && reader.good(); ++i) {
    const auto lane = static_cast<unsigned>(i % kMaxRansLanes);
    const auto after = std::upper_bound(borders.begin(), borders.end(), reader.slot(lane));
    symbols[i] = static_cast<std::int32_t>(after - borders.begin()) - 1;
    reader.advance(lane, interval(borders, symbols[i]));
  }
  if (!reader.good()) symbols.clear();   // how many were read before is not said
  return {symbols, reader.ok()};
}

std::vector<Borders> tables() {
  RandomReader random(1);
  std::vector<Borders> all;
  const auto add = [&](std::vector<std::uint32_t> frequencies) {
    Borders borders{};
    for (std::size_t i = 0; i < kRansTableSymbols; ++i)
      borders[i + 1] = static_cast<std::uint16_t>(borders[i] + (i < frequencies.size() ? frequencies[i] : 0));
    ASSERT_EQ(borders.back(), kRansTotal);
    all.push_back(borders);
  };
  add({kRansTotal});
  add({0, 0, kRansTotal});
  add(std::vector<std::uint32_t>(16, kRansTotal / 16));
  add({1, kRansTotal - 2, 0, 1});
  add({0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, kRansTotal - 14});
  for (const std::uint32_t most : {16'385u, 18'001u, 20'011u, 24'593u, 29'491u, 31'000u, 32'749u})
    add({1, most, kRansTotal - 1 - most});
  for (int round = 0; round < 40; ++round) {
    std::vector<std::uint32_t> cuts = {0, kRansTotal};
    for (std::size_t i = 1; i < 2 + random.below(15); ++i) cuts.push_back(static_cast<std::uint32_t>(random.below(kRansTotal >> random.below(15)) + 1));
    cuts.resize(std::min<std::size_t>(cuts.size(), kRansTableSymbols + 1));
    std::ranges::sort(cuts);
    std::vector<std::uint32_t> frequencies;
    for (std::size_t i = 1; i < cuts.size(); ++i) frequencies.push_back(cuts[i] - cuts[i - 1]);
    add(frequencies);
  }
  return all;
}

TEST(RansTables, RoundsOfLanesAreTheSameBytesAndSymbolsOnEveryTarget) {
  RandomReader random(2);
  const targets::Kernels& before = targets::chosen();
  for (const Borders& borders : tables())
    for (const std::size_t n : {0u, 1u, 31u, 32u, 33u, 64u, 1000u, 20'000u}) {
      std::vector<std::int32_t> symbols(n);
      const bool even = random.below(2) == 0;   // rare symbols are often there
      for (std::int32_t& symbol : symbols) {
        do {
          const auto slot = static_cast<std::uint32_t>(random.below(kRansTotal));
          symbol = static_cast<std::int32_t>(std::ranges::upper_bound(borders, slot) - borders.begin()) - 1;
          if (even) symbol = static_cast<std::int32_t>(random.below(kRansTableSymbols));
        } while (interval(borders, symbol).frequency == 0);
      }
      const auto bytes = written(borders, symbols, false);
      auto hostile = bytes;
      for (std::size_t i = 0; i < 3 && !hostile.empty(); ++i) hostile[random.below(hostile.size())] ^= std::byte{0x40};
      auto shorter = bytes;
      shorter.resize(bytes.size() - std::min<std::size_t>(bytes.size(), 2 + 2 * random.below(40)));
      for (const targets::Kernels* target : targets::available()) {
        targets::choose(*target);
        ASSERT_EQ(written(borders, symbols, true), bytes) << n << ", " << target->name;
        ASSERT_EQ(read(borders, bytes, n, true), std::pair(symbols, true)) << n << ", " << target->name;
        for (const auto& other : {hostile, shorter})
          ASSERT_EQ(read(borders, other, n, true), read(borders, other, n, false)) << n << ", " << target->name;
      }
    }
  targets::choose(before);
}

}  // namespace
}  // namespace fewbits
