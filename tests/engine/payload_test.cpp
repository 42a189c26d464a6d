#include <gtest/gtest.h>
#include <zstd.h>

#include <bit>

#include "kernels/kernels.h"
#include "tests/engine/hostile.h"

namespace fewbits::test {
namespace {

constexpr RoundContext kContext{.seed = 42, .round = 3};

// What the aggregator says to a section that replaces the true one, with a good checksum; the sum must stay.
class Payload {
 public:
  Payload(const char* plan, std::size_t n) : codec_(Codec::compile(plan, n)), sum_(codec_, kContext) {
    sum_.add(codec_.encode(normal(codec_.elements(), 1), {kContext.seed, kContext.round, 1}), {1, 1});
    frame_ = codec_.encode(normal(codec_.elements(), 2), {kContext.seed, kContext.round, 2});
  }

  std::size_t start() const { return inspect(frame_).header_bytes; }
  const std::vector<std::byte>& frame() const { return frame_; }

  std::vector<std::byte> section() const {
    return {frame_.begin() + static_cast<std::ptrdiff_t>(start()), frame_.end()};
  }

  std::vector<std::byte> with_section(const std::vector<std::byte>& section) const {
    std::vector<std::byte> out(frame_.begin(), frame_.begin() + static_cast<std::ptrdiff_t>(start()));
    out.insert(out.end(), section.begin(), section.end());
    return resealed(out);
  }

  std::optional<Errc> answer(const std::vector<std::byte>& frame) {
    const auto before = sum_.serialize();
    const auto code = refusal([&] { sum_.add(frame, {2, 1}); });
    if (code) {
      EXPECT_EQ(sum_.serialize(), before);
    }
    return code;
  }

  template <class T>
  std::optional<Errc> answer_to(std::size_t offset, T value) {
    return answer(resealed(with_value(frame_, start() + offset, value)));
  }

 private:
  Codec codec_;
  Aggregator sum_;
  std::vector<std::byte> frame_;
};

TEST(Float32Payload, NaNInfinityAndHugeValuesAreRefused) {
  for (const std::size_t n : {1, 9, 70})
    for (const std::size_t at : {std::size_t{0}, n / 2, n - 1}) {
      const auto answer = [&](std::uint32_t pattern) {
        // 16 values make 16 words in order; the values left over are 4 bytes each in order too.
        return Payload("f32", n).answer_to(4 * at, pattern);
      };
      for (const std::uint32_t pattern : {0x7F80'0000u, 0xFF80'0000u, 0x7FC0'0000u, 0x7F80'0001u, 0xFFFF'FFFFu})
        EXPECT_EQ(answer(pattern), Errc::kMalformed) << std::hex << pattern;
      EXPECT_EQ(answer(std::bit_cast<std::uint32_t>(1e38f)), Errc::kTooLarge);
      EXPECT_EQ(answer(std::bit_cast<std::uint32_t>(-1e38f)), Errc::kTooLarge);
      EXPECT_EQ(answer(std::bit_cast<std::uint32_t>(-1e9f)), std::nullopt);
      EXPECT_EQ(answer(1u), std::nullopt);  // the least denormal
    }
}

TEST(HalfPayload, NaNAndInfinityAreRefused) {
  for (const std::size_t at : {0, 2, 4}) {
    for (const unsigned pattern : {0x7C00u, 0xFC00u, 0x7C01u, 0x7E00u, 0xFFFFu})
      EXPECT_EQ(Payload("f16", 3).answer_to(at, static_cast<std::uint16_t>(pattern)), Errc::kMalformed) << pattern;
    for (const unsigned pattern : {0x7BFFu, 0xFBFFu, 0x0001u, 0x8000u})
      EXPECT_EQ(Payload("f16", 3).answer_to(at, static_cast<std::uint16_t>(pattern)), std::nullopt) << pattern;
    for (const unsigned pattern : {0x7F80u, 0xFF80u, 0x7F81u, 0x7FC0u, 0xFFFFu})
      EXPECT_EQ(Payload("bf16", 3).answer_to(at, static_cast<std::uint16_t>(pattern)), Errc::kMalformed) << pattern;
    for (const unsigned pattern : {0x7F7Fu, 0xFF7Fu})  // 3.39e38
      EXPECT_EQ(Payload("bf16", 3).answer_to(at, static_cast<std::uint16_t>(pattern)), Errc::kTooLarge) << pattern;
  }
}

TEST(QuantizePayload, BoundsThatNoEncoderWritesAreRefused) {
  const auto least = [](float value) { return Payload("quantize:bits=3", 9).answer_to(0, value); };
  const auto most = [](float value) { return Payload("quantize:bits=3", 9).answer_to(4, value); };
  for (const auto& bound : {static_cast<float>(NAN), -static_cast<float>(NAN), INFINITY, -INFINITY}) {
    EXPECT_EQ(least(bound), Errc::kMalformed) << bound;
    EXPECT_EQ(most(bound), Errc::kMalformed) << bound;
  }
  EXPECT_EQ(least(50.0f), Errc::kMalformed);  // over the largest
  EXPECT_EQ(most(-50.0f), Errc::kMalformed);  // under the least
  EXPECT_EQ(least(-0.0f), Errc::kMalformed);
  EXPECT_EQ(most(-0.0f), Errc::kMalformed);
  EXPECT_EQ(least(-1e38f), Errc::kTooLarge);
  EXPECT_EQ(most(1e38f), Errc::kTooLarge);
  EXPECT_EQ(most(1e9f), std::nullopt);
}

TEST(QuantizePayload, ABlockOfOneValueHasOneSymbol) {
  Payload payload("quantize:bits=3", 9);
  auto section = payload.section();
  section = with_value(with_value(section, 0, 2.0f), 4, 2.0f);
  EXPECT_EQ(payload.answer(payload.with_section(section)), Errc::kMalformed);
  std::fill(section.begin() + 8, section.end(), std::byte{0});
  EXPECT_EQ(payload.answer(payload.with_section(section)), std::nullopt);
}

TEST(QuantizePayload, EveryBlockIsLookedAt) {
  for (const std::size_t block : {0, 1, 4}) {
    EXPECT_EQ(Payload("quantize:bits=3,block=10", 45).answer_to(8 * block, static_cast<float>(NAN)), Errc::kMalformed);
    EXPECT_EQ(Payload("quantize:bits=3,block=10", 45).answer_to(8 * block + 4, 1e38f), Errc::kTooLarge);
  }
}

std::vector<std::byte> compressed(const std::vector<std::byte>& data) {
  std::vector<std::byte> out(ZSTD_compressBound(data.size()));
  out.resize(ZSTD_compress(out.data(), out.size(), data.data(), data.size(), 1));
  return out;
}

TEST(ZstdPayload, OnlyOneWholeFrameOfTheRightLengthIsTaken) {
  Payload payload("quantize:bits=8+zstd", 300);
  const auto whole = payload.section();
  const std::vector<std::byte> side(whole.begin(), whole.begin() + 8);
  std::vector<std::byte> packed(300);
  ASSERT_EQ(ZSTD_decompress(packed.data(), packed.size(), whole.data() + 8, whole.size() - 8), packed.size());
  const auto answer = [&](const std::vector<std::vector<std::byte>>& parts) {
    auto section = side;
    for (const auto& part : parts) section.insert(section.end(), part.begin(), part.end());
    return payload.answer(payload.with_section(section));
  };
  const auto first = [&](std::size_t count) {
    return std::vector<std::byte>(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(count));
  };
  const auto last = [&](std::size_t count) {
    return std::vector<std::byte>(packed.end() - static_cast<std::ptrdiff_t>(count), packed.end());
  };
  const auto skippable = bytes_of({0x50, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 1, 2});
  auto longer = packed;
  longer.push_back(std::byte{0});
  EXPECT_EQ(answer({}), Errc::kMalformed);
  EXPECT_EQ(answer({compressed(first(299))}), Errc::kMalformed);
  EXPECT_EQ(answer({compressed(longer)}), Errc::kMalformed);
  EXPECT_EQ(answer({compressed(first(100)), compressed(last(200))}), Errc::kMalformed);
  EXPECT_EQ(answer({skippable, compressed(packed)}), Errc::kMalformed);
  EXPECT_EQ(answer({compressed(packed), skippable}), Errc::kMalformed);
  EXPECT_EQ(answer({compressed(packed), compressed({})}), Errc::kMalformed);
  EXPECT_EQ(answer({compressed(packed), bytes_of({0})}), Errc::kMalformed);
  EXPECT_EQ(answer({zstd_bomb(1000)}), Errc::kMalformed);
  EXPECT_EQ(answer({zstd_giant_claim()}), Errc::kMalformed);
  // A frame that asks for a dictionary: descriptor with a dictionary id of one byte.
  EXPECT_EQ(answer({bytes_of({0x28, 0xB5, 0x2F, 0xFD, 0x01, 0x00, 0x07, 0x01, 0x00, 0x00})}), Errc::kMalformed);
  EXPECT_EQ(answer({compressed(packed)}), std::nullopt);
}

TEST(ZstdPayload, APaddingBitIsSeenBehindTheCompression) {
  Payload payload("quantize:bits=3+zstd", 5);  // planes of 10 and 5 bits: 2 bytes and 1
  const auto whole = payload.section();
  std::vector<std::byte> packed(3);
  ASSERT_EQ(ZSTD_decompress(packed.data(), packed.size(), whole.data() + 8, whole.size() - 8), packed.size());
  for (const auto& [byte, bit] : std::vector<std::pair<std::size_t, unsigned>>{{1, 2}, {1, 7}, {2, 5}, {2, 7}}) {
    auto padded = packed;
    padded[byte] |= std::byte{1} << bit;
    auto section = std::vector<std::byte>(whole.begin(), whole.begin() + 8);
    const auto tail = compressed(padded);
    section.insert(section.end(), tail.begin(), tail.end());
    EXPECT_EQ(payload.answer(payload.with_section(section)), Errc::kMalformed) << byte << ", " << bit;
  }
}

// Limits hold behind every transform, before a value is added.
TEST(HugePayload, IsRefusedBehindTransforms) {
  for (const char* plan :
       {"hadamard+quantize:bits=2", "mask:keep=0.5+quantize:bits=2",
        "hadamard:seed=client+mask:keep=0.5+quantize:bits=2", "train=mask:keep=0.5 | hadamard+quantize:bits=2"})
    EXPECT_EQ(Payload(plan, 40).answer_to(4, 1e38f), Errc::kTooLarge) << plan;
}

// An update that is finite but leaves float32 in a rotation is refused where it is encoded.
TEST(HugeUpdate, ThatOverflowsARotationIsRefused) {
  const Codec codec = Codec::compile("hadamard+f32", 64);
  const std::vector<float> x(64, 3e38f);
  EXPECT_EQ(refusal([&] { codec.encode(x, {}); }), Errc::kNotFinite);
  EXPECT_EQ(refusal([&] { Codec::compile("f16", 2).encode(std::vector<float>{1, 65520}, {}); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] {
              Codec::compile("bf16", 2).encode(std::vector<float>{1, 3.4028235e38f}, {});
            }),
            Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { Codec::compile("f16", 2).encode(std::vector<float>{1, -65519}, {}); }), std::nullopt);
}

}  // namespace
}  // namespace fewbits::test
