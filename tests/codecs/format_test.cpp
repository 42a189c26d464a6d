#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "tests/engine/support.h"
#include "tests/kernels/format_model.h"

// Whole sections against docs/frame-format.md, by the model that tests/kernels writes from its text: which key each use
// of randomness has, and what follows what.
namespace fewbits::test {
namespace {

using format_model::Stream;

constexpr std::uint64_t kSeed = 42, kClient = 17;
constexpr std::uint32_t kRound = 3;

std::vector<std::uint8_t> section(const char* plan, const std::vector<float>& x) {
  const Codec codec = Codec::compile(plan, x.size());
  const auto frame = codec.encode(x, {kSeed, kRound, kClient});
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = inspect(frame).header_bytes; i < frame.size(); ++i)
    bytes.push_back(std::to_integer<std::uint8_t>(frame[i]));
  return bytes;
}

Stream stream(bool per_client, std::uint64_t stage, std::uint64_t purpose) {
  return Stream(format_model::key({kSeed, kRound, per_client, per_client ? kClient : 0, 0, stage, purpose}));
}

void rotate(std::span<float> x, Stream signs) {
  for (std::size_t i = 0; i < x.size(); ++i)
    if (format_model::negated(signs, i)) x[i] = -x[i];
  for (std::size_t h = 1; h < x.size(); h *= 2)
    for (std::size_t i = 0; i < x.size(); ++i)
      if (i % (2 * h) < h) {
        const float a = x[i], b = x[i + h];
        x[i] = a + b;
        x[i + h] = a - b;
      }
  const int e = std::countr_zero(x.size());
  const float c = e % 2 == 0 ? std::ldexp(1.0f, -e / 2) : std::ldexp(1.0f, -(e - 1) / 2) * 0x1.6a09e6p-1f;
  for (float& value : x) value *= c;
}

std::vector<float> rotated(std::vector<float> x, bool per_client, std::uint64_t stage) {
  const std::size_t b = std::bit_floor(x.size());
  rotate(std::span(x).first(b), stream(per_client, stage, 1));
  if (b < x.size()) rotate(std::span(x).last(b), stream(per_client, stage, 2));
  return x;
}

std::vector<float> masked(const std::vector<float>& x, std::size_t k, bool per_client, std::uint64_t stage) {
  Stream draws = stream(per_client, stage, 3);
  std::vector<float> kept;
  for (const std::uint32_t i : format_model::subset(draws, k, x.size())) kept.push_back(x[i]);
  return kept;
}

void append(std::vector<std::uint8_t>& bytes, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  for (unsigned i = 0; i < 4; ++i) bytes.push_back(static_cast<std::uint8_t>(bits >> (8 * i)));
}

std::vector<std::uint8_t> quantized(const std::vector<float>& x, unsigned bits, std::size_t block,
                                    std::uint64_t stage) {
  Stream dither = stream(true, stage, 4);
  std::vector<std::uint8_t> side;
  std::vector<std::uint32_t> symbols;
  for (std::size_t start = 0; start < x.size(); start += block) {
    const auto part = std::span(x).subspan(start, std::min(block, x.size() - start));
    const auto [low, high] = std::ranges::minmax(part);
    append(side, low);
    append(side, high);
    for (std::size_t i = 0; i < part.size(); ++i) {
      const std::uint64_t g = start / block * 32 * ((block + 31) / 32) + i;
      symbols.push_back(format_model::symbol(dither, g, low, high, (1u << bits) - 1, part[i]));
    }
  }
  const auto packed = format_model::pack(symbols, bits);
  side.insert(side.end(), packed.begin(), packed.end());
  return side;
}

constexpr std::size_t kSizes[] = {1, 2, 3, 37, 64, 100, 600, 1025};

TEST(Format, OfFloats) {
  for (const std::size_t n : kSizes) {
    const auto x = normal(n, n);
    std::vector<std::uint32_t> patterns;
    for (const float value : x) patterns.push_back(std::bit_cast<std::uint32_t>(value));
    EXPECT_EQ(section("f32", x), format_model::pack(patterns, 32));
  }
}

TEST(Format, OfQuantize) {
  for (const std::size_t n : kSizes) {
    const auto x = normal(n, n);
    EXPECT_EQ(section("quantize:bits=1", x), quantized(x, 1, n, 0)) << n;
    EXPECT_EQ(section("quantize:bits=8", x), quantized(x, 8, n, 0)) << n;
    EXPECT_EQ(section("quantize:bits=3,block=20", x), quantized(x, 3, std::min<std::size_t>(20, n), 0)) << n;
    EXPECT_EQ(section("quantize:bits=5,block=64", x), quantized(x, 5, std::min<std::size_t>(64, n), 0)) << n;
  }
}

TEST(Format, OfHadamard) {
  for (const std::size_t n : kSizes) {
    const auto x = normal(n, n);
    EXPECT_EQ(section("hadamard+quantize:bits=2", x), quantized(rotated(x, false, 0), 2, n, 1)) << n;
    EXPECT_EQ(section("hadamard:seed=client+quantize:bits=2", x), quantized(rotated(x, true, 0), 2, n, 1)) << n;
    EXPECT_EQ(section("hadamard+hadamard+quantize:bits=2", x),
              quantized(rotated(rotated(x, false, 0), false, 1), 2, n, 2))
        << n;
  }
}

TEST(Format, OfMask) {
  for (const std::size_t n : kSizes) {
    const auto x = normal(n, n);
    const auto k = std::max<std::size_t>(1, static_cast<std::size_t>(std::floor(0.3 * static_cast<double>(n) + 0.5)));
    EXPECT_EQ(section("mask:keep=0.3+quantize:bits=4", x), quantized(masked(x, k, true, 0), 4, k, 1)) << n;
    EXPECT_EQ(section("mask:keep=0.3,seed=round+quantize:bits=4", x), quantized(masked(x, k, false, 0), 4, k, 1)) << n;
    EXPECT_EQ(section("hadamard+mask:keep=0.3+quantize:bits=4", x),
              quantized(masked(rotated(x, false, 0), k, true, 1), 4, k, 2))
        << n;
  }
}

// keep·n + 1/2, rounded down, at least one.
TEST(Mask, KeepsTheRoundedShare) {
  const auto kept = [](const char* plan, std::size_t n) {
    return Codec::compile(plan, n).describe().groups.front().values;
  };
  EXPECT_EQ(kept("mask:keep=0.5+f32", 5), 3u);
  EXPECT_EQ(kept("mask:keep=0.1+f32", 14), 1u);
  EXPECT_EQ(kept("mask:keep=0.1+f32", 15), 2u);
  EXPECT_EQ(kept("mask:keep=0.000001+f32", 1000), 1u);
  EXPECT_EQ(kept("mask:keep=1+f32", 1000), 1000u);
  EXPECT_EQ(kept("mask:keep=0.9999+f32", 1000), 1000u);
}

// What a mask keeps arrives as n/k times itself, in float64, and nothing else does.
TEST(Mask, ScalesWhatItKeeps) {
  const auto x = normal(100, 9);
  const Codec codec = Codec::compile("mask:keep=0.13+f32", 100);
  const auto back = codec.decode(codec.encode(x, {kSeed, kRound, kClient}), {kSeed});
  std::size_t kept = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (back[i] == 0) continue;
    ++kept;
    EXPECT_EQ(back[i], static_cast<float>(100.0 / 13 * static_cast<double>(x[i])));
  }
  EXPECT_EQ(kept, 13u);
}

// Two overlapping rotations keep norms at any length; (log2(n) + 2)·2^-24 of rounding each, twice for the square.
TEST(Hadamard, KeepsNormsAtAnyLength) {
  for (const std::size_t n : {1, 2, 3, 5, 31, 33, 47, 63, 100, 1000, 4095}) {
    const auto x = normal(n, n);
    // Behind the rotation, bit patterns as they are: full runs of 16 values, and the rest, are in order.
    const auto bytes = section("hadamard+f32", x);
    ASSERT_EQ(bytes.size(), 4 * n);
    std::vector<float> y(n);
    std::memcpy(y.data(), bytes.data(), bytes.size());
    EXPECT_NEAR(norm(y) / norm(x), 1, 4 * (std::log2(static_cast<double>(n)) + 2) * 0x1p-24) << n;
  }
}

}  // namespace
}  // namespace fewbits::test
