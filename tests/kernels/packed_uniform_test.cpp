#include <gtest/gtest.h>

#include <vector>

#include "kernels/kernels.h"
#include "tests/engine/support.h"

namespace fewbits {
namespace {

// Around the blocks of every width, of the stream and of the parts that ranges near the ends of float32 go through.
constexpr std::size_t kSizes[] = {0,   1,   2,   31,  32,   33,   63,   64,   65,   127,  128,  255,
                                  256, 257, 511, 512, 1000, 2047, 2048, 4095, 4096, 4097, 9001};

class Packed : public ::testing::TestWithParam<unsigned> {
 protected:
  std::uint32_t levels() const { return (1u << GetParam()) - 1; }
};
INSTANTIATE_TEST_SUITE_P(Bits, Packed, ::testing::Values(1u, 2u, 4u, 8u));

TEST_P(Packed, BytesAreThoseOfPackedSymbols) {
  for (const std::size_t n : kSizes)
    for (const double scale : {1.0, 1e-40, 1e-44, 1e37, 6e37}) {
      const std::vector<float> x = test::normal(n, n + GetParam(), scale);
      const kernels::Range range = n == 0 ? kernels::Range{0, 1} : kernels::min_max(x);
      std::vector<std::int32_t> symbols(n);
      kernels::quantize_uniform(n, 0, range, levels(), x, symbols);
      std::vector<std::byte> want(kernels::packed_bytes(n, GetParam()));
      kernels::pack(symbols, GetParam(), want);
      std::vector<std::byte> got(want.size(), std::byte{9});
      kernels::quantize_packed(n, range, GetParam(), x, got);
      ASSERT_EQ(got, want) << n << " values, scale " << scale;
    }
}

TEST_P(Packed, OneValueIsSymbolZero) {
  std::vector<std::byte> bytes(kernels::packed_bytes(300, GetParam()), std::byte{9});
  kernels::quantize_packed(1, {3, 3}, GetParam(), std::vector<float>(300, 3.0f), bytes);
  EXPECT_EQ(bytes, std::vector<std::byte>(bytes.size()));
}

// More frames than a target takes at once, each with a range and a weight of its own.
TEST_P(Packed, SumsAreThoseOfUnpackedSymbols) {
  for (const std::size_t n : kSizes)
    for (const std::size_t count : {0u, 1u, 2u, 7u, 8u, 9u, 35u}) {
      std::vector<std::vector<std::byte>> bytes(count);
      std::vector<kernels::PackedUniform> frames;
      std::vector<double> want(n, 0.25);
      std::vector<double> got(want);
      std::vector<std::int32_t> symbols(n);
      for (std::size_t f = 0; f < count; ++f) {
        RandomReader random = test::reader(n + f);
        for (std::int32_t& symbol : symbols) symbol = static_cast<std::int32_t>(random.next() & levels());
        bytes[f].resize(kernels::packed_bytes(n, GetParam()));
        kernels::pack(symbols, GetParam(), bytes[f]);
        const float low = -0.3f * static_cast<float>(f % 5);
        frames.push_back({bytes[f], {low, f % 7 == 6 ? low : 1.1f}, 0.3 + static_cast<double>(f)});
        kernels::accumulate_uniform(frames[f].range, levels(), symbols, frames[f].weight, want);
      }
      kernels::accumulate_packed(frames, GetParam(), got);
      ASSERT_EQ(got, want) << n << " values, " << count << " frames";
    }
}

}  // namespace
}  // namespace fewbits
