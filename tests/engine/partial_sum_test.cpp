#include <gtest/gtest.h>

#include "fewbits/aggregator.h"
#include "tests/engine/allocations.h"
#include "tests/engine/hostile.h"

namespace fewbits::test {
namespace {

constexpr RoundContext kContext{.seed = 42, .round = 3};

struct Sum {
  explicit Sum(const char* plan, std::size_t n = 20) : codec(Codec::compile(plan, n)), sum(codec, kContext) {
    for (const std::uint64_t client : {5, 300, 70'000})
      sum.add(codec.encode(normal(codec.elements(), client), {kContext.seed, kContext.round, client}), {client, 2.5});
  }
  Codec codec;
  Aggregator sum;
};

const std::vector<const char*> kPlans = {"f32", "quantize:bits=2", "hadamard+mask:keep=0.3+quantize:bits=4",
                                         "mask:keep=0.5,seed=round+f32", "hadamard:seed=client+quantize:bits=1"};

// Restores; a sum that comes out must have a finite mean or say that it has none.
std::optional<Errc> restored(const Codec& codec, const std::vector<std::byte>& bytes) {
  const PeakAllocation allocation;
  const auto code = refusal([&] {
    const Aggregator sum = Aggregator::restore(codec, kContext, bytes);
    EXPECT_LE(sum.clients(), bytes.size());
    try {
      EXPECT_TRUE(all_finite(sum.mean()));
    } catch (const Error&) {
    }
    EXPECT_TRUE(std::isfinite(sum.total_weight()));
  });
  // Each byte can claim a client; a set's node and bucket take under 64 bytes.
  EXPECT_LE(allocation.bytes(), 64 * (codec.elements() + bytes.size()) + (16u << 10));
  return code;
}

TEST(PartialSum, EveryTruncationIsRefused) {
  for (const char* plan : kPlans) {
    const Sum s(plan);
    truncations(s.sum.serialize(), [&](std::vector<std::byte> part) {
      EXPECT_TRUE(restored(s.codec, part).has_value()) << plan << ", " << part.size();
      reseal_partial_sum(part);
      EXPECT_TRUE(restored(s.codec, part).has_value()) << plan << ", " << part.size() << ", resealed";
    });
  }
}

TEST(PartialSum, EveryFlippedBitIsRefusedWhileTheHashStands) {
  for (const char* plan : kPlans) {
    const Sum s(plan);
    flips(s.sum.serialize(), [&](std::vector<std::byte> flipped, std::size_t at) {
      EXPECT_TRUE(restored(s.codec, flipped).has_value()) << plan << ", byte " << at;
    });
  }
}

TEST(PartialSum, AFlippedBitBehindAGoodHashIsRefusedOrLeavesAFiniteMean) {
  for (const char* plan : kPlans) {
    const Sum s(plan);
    flips(s.sum.serialize(), [&](std::vector<std::byte> flipped, std::size_t at) {
      reseal_partial_sum(flipped);
      const auto code = restored(s.codec, flipped);
      if (at < 18 + 1) {  // magic, version, fingerprint, seed, round
        EXPECT_TRUE(code.has_value()) << plan << ", byte " << at;
      }
    });
  }
}

TEST(PartialSum, SaysWhatIsWrong) {
  const Sum s("hadamard+quantize:bits=2");
  const auto bytes = s.sum.serialize();
  const auto code = [&](const char* plan, RoundContext context, std::size_t n = 20) {
    return refusal([&] { Aggregator::restore(Codec::compile(plan, n), context, bytes); });
  };
  EXPECT_EQ(code("hadamard+quantize:bits=2", kContext), std::nullopt);
  EXPECT_EQ(code("hadamard+quantize:bits=3", kContext), Errc::kWrongPlan);
  EXPECT_EQ(code("hadamard+quantize:bits=2", kContext, 21), Errc::kWrongPlan);
  EXPECT_EQ(code("hadamard+quantize:bits=2", {42, 4}), Errc::kWrongRound);
  EXPECT_EQ(code("hadamard+quantize:bits=2", {43, 3}), Errc::kWrongSeed);
  const auto sealed = [&](std::vector<std::byte> changed) {
    reseal_partial_sum(changed);
    return restored(s.codec, changed);
  };
  EXPECT_EQ(sealed(with_bytes(bytes, 0, bytes_of({0xFB}))), Errc::kNotAFrame);
  EXPECT_EQ(sealed(with_bytes(bytes, 1, bytes_of({2}))), Errc::kUnknownVersion);
  EXPECT_EQ(restored(s.codec, with_bytes(bytes, bytes.size() - 1, {bytes.back() ^ std::byte{1}})),
            Errc::kChecksumMismatch);
  auto longer = bytes;
  longer.insert(longer.end() - 8, std::byte{0});
  EXPECT_EQ(sealed(longer), Errc::kTrailingBytes);
}

// 1 + 1 + 8 + 8 bytes, a round of one byte, then the weight.
constexpr std::size_t kWeightAt = 19;
constexpr std::size_t kCountAt = kWeightAt + 8;

TEST(PartialSum, RefusesWeightsThatNoSumHas) {
  const Sum s("f32");
  for (const double weight : {0.0, -1.0, static_cast<double>(NAN), HUGE_VAL, 4e12, 1e300}) {
    auto bytes = with_value(s.sum.serialize(), kWeightAt, weight);
    reseal_partial_sum(bytes);
    EXPECT_EQ(restored(s.codec, bytes), Errc::kMalformed) << weight;
  }
}

TEST(PartialSum, RefusesSumsThatAreNotFiniteOrBeyondFloat32) {
  const Sum s("f32");
  const auto bytes = s.sum.serialize();
  for (const double value : {static_cast<double>(NAN), HUGE_VAL, -HUGE_VAL, 1e300, 7.5 * 3.5e38})
    for (const std::size_t from_end : {16, 16 + 8 * 19}) {
      auto changed = with_value(bytes, bytes.size() - from_end, value);
      reseal_partial_sum(changed);
      EXPECT_EQ(restored(s.codec, changed), Errc::kTooLarge) << value;
    }
}

TEST(PartialSum, RefusesClientsThatDoNotRiseAndCountsThatCannotBe) {
  const Sum s("f32");
  const auto bytes = s.sum.serialize();
  ASSERT_EQ(bytes[kCountAt], std::byte{3});
  const auto with_clients = [&](const std::vector<std::byte>& clients) {
    std::vector<std::byte> out(bytes.begin(), bytes.begin() + kCountAt);
    out.insert(out.end(), clients.begin(), clients.end());
    out.insert(out.end(), bytes.end() - 8 * 21, bytes.end());
    reseal_partial_sum(out);
    return restored(s.codec, out);
  };
  EXPECT_EQ(with_clients(bytes_of({3, 5, 0, 0})), std::nullopt);  // 5, 6, 7
  // The second distance carries the id past 2^64, back to the first.
  EXPECT_EQ(with_clients(bytes_of({2, 5, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01})),
            Errc::kMalformed);
  EXPECT_EQ(with_clients(bytes_of({2, 5, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01})),
            Errc::kMalformed);
  EXPECT_EQ(with_clients(bytes_of({0x83, 0x00, 5, 0, 0})), Errc::kMalformed);  // a padded count
  EXPECT_EQ(with_clients(varint(1ull << 60)), Errc::kTruncated);
  EXPECT_EQ(with_clients(varint(~0ull)), Errc::kTruncated);
  EXPECT_EQ(with_clients(bytes_of({0})), Errc::kMalformed);  // a weight without clients
}

}  // namespace
}  // namespace fewbits::test
