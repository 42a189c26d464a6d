#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "tests/engine/support.h"
#include "tests/kernels/format_model.h"

namespace fewbits {
namespace {

class EveryWidth : public ::testing::TestWithParam<unsigned> {
 protected:
  // All corners of the width among random symbols.
  std::vector<std::int32_t> symbols(std::size_t count) const {
    RandomReader random = test::reader(count * 100 + GetParam());
    const std::uint32_t mask = GetParam() == 32 ? ~0u : (1u << GetParam()) - 1;
    std::vector<std::int32_t> all(count);
    for (auto& symbol : all) symbol = static_cast<std::int32_t>(random.next() & mask);
    if (count > 1) all[count / 2] = static_cast<std::int32_t>(mask);
    if (count > 2) all[count - 1] = 0;
    return all;
  }

  static constexpr std::size_t kCounts[] = {0,   1,   2,   3,   7,   8,    9,    15,   16,   17,   31,  32,  33,
                                            47,  63,  64,  65,  127, 128,  129,  255,  256,  257,  511, 512, 513,
                                            514, 527, 528, 529, 575, 1000, 1023, 1024, 1025, 1537, 4099};
};
INSTANTIATE_TEST_SUITE_P(Bits, EveryWidth, ::testing::Range(1u, 33u));

TEST_P(EveryWidth, PacksAsTheFormatSaysAndComesBack) {
  const unsigned bits = GetParam();
  for (const std::size_t count : kCounts) {
    const auto original = symbols(count);
    const std::vector<std::uint32_t> unsigned_symbols(original.begin(), original.end());
    const auto want = format_model::pack(unsigned_symbols, bits);
    ASSERT_EQ(kernels::packed_bytes(count, bits), want.size()) << count;
    std::vector<std::byte> packed(want.size(), std::byte{0});
    kernels::pack(original, bits, packed);
    ASSERT_TRUE(std::ranges::equal(packed, want, {}, [](std::byte b) { return std::to_integer<std::uint8_t>(b); }))
        << count;
    std::vector<std::int32_t> back(count, -1);
    ASSERT_TRUE(kernels::unpack(packed, bits, back)) << count;
    ASSERT_EQ(back, original) << count;
  }
}

// Symbols have bits·count bits; those of the bytes beyond them are padding, and each must be refused when it is set.
TEST_P(EveryWidth, ASetPaddingBitIsSeen) {
  const unsigned bits = GetParam();
  for (const std::size_t count : {1, 3, 17, 513}) {
    std::vector<std::byte> packed(kernels::packed_bytes(count, bits));
    kernels::pack(symbols(count), bits, packed);
    std::vector<std::int32_t> back(count);
    std::size_t refused = 0;
    for (std::size_t bit = 0; bit < 8 * packed.size(); ++bit) {
      packed[bit / 8] ^= std::byte{1} << (bit % 8);
      refused += kernels::unpack(packed, bits, back) ? 0 : 1;
      packed[bit / 8] ^= std::byte{1} << (bit % 8);
    }
    EXPECT_EQ(refused, 8 * packed.size() - bits * count) << count;
  }
}

TEST_P(EveryWidth, HigherBitsOfASymbolAreLeftOut) {
  const unsigned bits = GetParam();
  if (bits == 32) return;
  const auto original = symbols(100);
  std::vector<std::int32_t> high(original);
  for (auto& symbol : high) symbol = static_cast<std::int32_t>(static_cast<std::uint32_t>(symbol) | 1u << bits);
  std::vector<std::byte> a(kernels::packed_bytes(100, bits)), b(a);
  kernels::pack(original, bits, a);
  kernels::pack(high, bits, b);
  EXPECT_EQ(a, b);
}

TEST(Pack, NoBitsAreNoBytes) {
  EXPECT_EQ(kernels::packed_bytes(1000, 0), 0u);
  std::vector<std::int32_t> back(10, -1);
  EXPECT_TRUE(kernels::unpack({}, 0, back));
  EXPECT_EQ(back, std::vector<std::int32_t>(10, 0));
}

}  // namespace
}  // namespace fewbits
