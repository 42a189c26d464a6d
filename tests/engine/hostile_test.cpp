#include "tests/engine/hostile.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <limits>
#include <set>

#include "codec_impl.h"
#include "tests/engine/allocations.h"
#include "tests/engine/every_plan.h"

namespace fewbits::test {
namespace {

constexpr std::uint64_t kClient = 300;  // a varint of two bytes

// While a frame is refused, this much may be allocated: what the plan's own work space takes, and error messages.
std::size_t allowance(const Codec& codec) { return 64 * (codec.layout().elements() + codec.elements()) + (16u << 10); }

std::vector<Case> hostile_plans() {
  std::vector<Case> plans = all_plans();
  std::erase_if(plans, [](const Case& c) { return c.plan.find("level=19") != std::string::npos; });
  return plans;
}

// Frames are offered as those of a second client to a sum that has one.
class EveryPlanUnderAttack : public EveryPlan {
 protected:
  enum class Outcome { kRefused, kAccepted };

  // Throws Error and leaves the sum as it was; or is a frame, whose values are finite and within the limit.
  static Outcome offer(const Codec& codec, const std::vector<std::byte>& good, const std::vector<std::byte>& frame,
                       std::vector<std::byte>* sum_after = nullptr) {
    Aggregator sum(codec, round_context());
    sum.add(good, from(1, 10));
    const auto before = sum.serialize();
    const auto clients = sum.clients();
    bool accepted = true;
    std::size_t peak = 0;
    {
      const PeakAllocation allocation;
      try {
        sum.add(frame, from(kClient));
      } catch (const Error&) {
        accepted = false;
      }
      peak = allocation.bytes();
    }
    EXPECT_LE(peak, allowance(codec)) << "at a frame of " << frame.size() << " bytes";
    if (!accepted) {
      EXPECT_EQ(sum.serialize(), before);
      EXPECT_EQ(sum.clients(), clients);
      EXPECT_EQ(sum.total_weight(), 10.0);
    } else {
      EXPECT_EQ(sum.clients(), clients + 1);
      // Undoing transforms multiplies a value by at most n in all: a mask's n/k, times √k of a rotation; a share of the
      // coordinates by the cohort's size.
      const double limit = Limits{}.max_abs * static_cast<double>(codec.layout().elements()) * cohort(0).size;
      const auto mean = sum.mean();
      for (const float value : mean) EXPECT_LE(std::abs(static_cast<double>(value)), limit);
      if (sum_after != nullptr) *sum_after = sum.serialize();
    }
    // Decoding the frame alone is as safe.
    try {
      EXPECT_TRUE(all_finite(codec.decode(frame, run(kClient))));
    } catch (const Error&) {
    }
    return accepted ? Outcome::kAccepted : Outcome::kRefused;
  }

  struct Frames {
    Codec codec;
    std::vector<std::byte> good;   // in the sum
    std::vector<std::byte> frame;  // the one that is damaged
  };
  static Frames make(std::size_t n) {
    Codec c = codec(n);
    return {c, c.encode(update(c, 1), context(1)), c.encode(update(c, 2), context(kClient))};
  }
};
INSTANTIATE_TEST_SUITE_P(Plans, EveryPlanUnderAttack, ::testing::ValuesIn(hostile_plans()), name_of);

const std::vector<std::size_t> kAttackedSizes = long_tests()
                                                    ? std::vector<std::size_t>{0, 1, 2, 3, 5, 16, 33, 37, 64, 100, 600}
                                                    : std::vector<std::size_t>{0, 1, 5, 37};

TEST_P(EveryPlanUnderAttack, AnUndamagedFrameIsAccepted) {
  for (const std::size_t n : kAttackedSizes) {
    const auto [codec, good, frame] = make(n);
    EXPECT_EQ(offer(codec, good, frame), Outcome::kAccepted) << n;
  }
}

TEST_P(EveryPlanUnderAttack, EveryTruncationIsRefused) {
  for (const std::size_t n : kAttackedSizes) {
    const auto [codec, good, frame] = make(n);
    truncations(frame, [&](std::vector<std::byte> part) {
      EXPECT_EQ(offer(codec, good, part), Outcome::kRefused) << n << ", " << part.size();
      EXPECT_EQ(offer(codec, good, resealed(part)), Outcome::kRefused) << n << ", " << part.size() << ", resealed";
    });
  }
}

TEST_P(EveryPlanUnderAttack, TrailingBytesAreRefused) {
  for (const std::size_t n : kAttackedSizes) {
    const auto [codec, good, frame] = make(n);
    for (const std::size_t more : {1, 2, 64, 100'000}) {
      auto longer = frame;
      longer.resize(frame.size() + more);
      EXPECT_EQ(offer(codec, good, longer), Outcome::kRefused) << n;
      EXPECT_EQ(offer(codec, good, resealed(longer)), Outcome::kRefused) << n;
    }
  }
}

// 32 bits of a hash do not miss one flipped bit here: the checksum is verified over every byte.
TEST_P(EveryPlanUnderAttack, EveryFlippedBitIsRefusedWhileTheChecksumStands) {
  const auto [codec, good, frame] = make(37);
  flips(frame, [&](std::vector<std::byte> flipped, std::size_t at) {
    EXPECT_EQ(offer(codec, good, flipped), Outcome::kRefused) << "byte " << at;
  });
}

// Where the symbols of each section begin: after the side values, as they are read.
std::vector<std::size_t> symbol_offsets(const Codec& codec, const std::vector<std::byte>& frame, const FrameInfo& info) {
  std::vector<std::size_t> offsets;
  Workspace workspace;
  workspace.reserve(codec.impl().workspace_bytes());
  for (std::size_t g = 0; g < codec.impl().groups().size(); ++g) {
    const Chain& chain = codec.impl().groups()[g].chain;
    const auto [offset, bytes] = info.sections[g];
    ByteReader reader(std::span<const std::byte>(frame).subspan(offset, bytes), offset);
    std::vector<std::int32_t> symbols(chain.values());
    Chain::Unpacked section;
    chain.unpack({kSeed, info.round, info.client}, workspace, reader, symbols, section);
    offsets.push_back(offset);
    for (const auto side : section.sides) offsets.back() += side.size();
  }
  return offsets;
}

// Behind a repaired checksum a flip may be a frame: of other values. One value has one encoding, so that no two frames
// with other symbols add the same to a sum. Left out: side values (a bound of `quantize` that no symbol takes makes no
// difference), flags that readers ignore, zstd, which can say the same in several ways, and stages of which not every value
// counts: a block of `permk` may be filled up, and cells of `countsketch` may be nobody's, or under the median.
TEST_P(EveryPlanUnderAttack, AFlippedBitBehindAGoodChecksumIsRefusedOrIsAnotherFrame) {
  for (const std::size_t n : kAttackedSizes) {
    const auto [codec, good, frame] = make(n);
    const bool one_encoding = std::ranges::none_of(std::vector<std::string>{"zstd", "permk", "countsketch"}, [&](const auto& name) {
      return codec.plan().find(name) != std::string::npos;
    });
    std::set<std::uint64_t> sums;  // by their hashes
    std::vector<std::byte> sum;
    offer(codec, good, frame, &sum);
    sums.insert(kernels::hash64(sum, 0));
    const FrameInfo info = inspect(frame);
    const auto symbols = symbol_offsets(codec, frame, info);
    flips(frame, [&](std::vector<std::byte> flipped, std::size_t at) {
      const auto sealed = resealed(flipped);
      if (sealed == frame || offer(codec, good, sealed, &sum) == Outcome::kRefused) return;
      bool is_symbol = false;
      for (std::size_t g = 0; g < symbols.size(); ++g)
        is_symbol |= at >= symbols[g] && at < info.sections[g].offset + info.sections[g].bytes;
      if (is_symbol && one_encoding) {
        EXPECT_TRUE(sums.insert(kernels::hash64(sum, 0)).second)
            << n << ": byte " << at << " of " << frame.size() << " changes nothing";
      }
    });
  }
}

TEST_P(EveryPlanUnderAttack, RandomBytesAfterAGoodHeaderAreRefusedOrFinite) {
  const auto [codec, good, frame] = make(37);
  const std::size_t header = inspect(frame).header_bytes;
  RandomReader random = reader(8);
  for (int i = 0; i < (long_tests() ? 20'000 : 300); ++i) {
    auto noise = frame;
    for (std::size_t at = header; at < noise.size(); ++at) noise[at] = static_cast<std::byte>(random.next());
    if (i % 3 == 1) noise.resize(header + random.below(100));
    offer(codec, good, resealed(noise));
  }
}

// A header that lies, before a section that is right.
TEST_P(EveryPlanUnderAttack, LiesInTheHeaderAreRefused) {
  const auto [codec, good, frame] = make(37);
  const FrameInfo info = inspect(frame);
  const Forged honest{.required_flags = info.required_flags,
                      .fingerprint = info.fingerprint,
                      .round = varint(kRound),
                      .client = varint(kClient),
                      .rest = {frame.begin() + static_cast<std::ptrdiff_t>(info.header_bytes), frame.end()}};
  ASSERT_EQ(honest.bytes(), frame);
  const auto refused = [&](auto lie, const char* what, std::optional<Errc> code = std::nullopt) {
    Forged forged = honest;
    lie(forged);
    const auto bytes = forged.bytes();
    EXPECT_EQ(offer(codec, good, bytes), Outcome::kRefused) << what;
    if (code) {
      Aggregator sum(codec, round_context());
      EXPECT_EQ(refusal([&] { sum.add(bytes, from(kClient)); }), code) << what;
    }
  };
  for (const unsigned magic : {0u, 0xFAu, 0xFCu, 0xFFu})
    refused([&](Forged& f) { f.magic = static_cast<std::uint8_t>(magic); }, "magic", Errc::kNotAFrame);
  for (const unsigned version : {0u, 2u, 255u})
    refused([&](Forged& f) { f.version = static_cast<std::uint8_t>(version); }, "version", Errc::kUnknownVersion);
  for (unsigned bit = 1; bit < 8; ++bit)
    refused([&](Forged& f) { f.required_flags = static_cast<std::uint8_t>(f.required_flags | 1u << bit); }, "a flag",
            Errc::kUnknownVersion);
  refused([](Forged& f) { f.required_flags ^= 1; }, "the flag of several sections");
  refused([](Forged& f) { f.fingerprint ^= 1; }, "fingerprint", Errc::kWrongPlan);
  refused([](Forged& f) { f.fingerprint = 0; }, "fingerprint", Errc::kWrongPlan);
  refused([](Forged& f) { f.round = varint(kMaxRound + 1ull); }, "a huge round", Errc::kMalformed);
  refused([](Forged& f) { f.round = varint(~0ull); }, "a huge round", Errc::kMalformed);
  refused([](Forged& f) { f.round = varint((1ull << 32) + kRound); }, "a round that wraps around", Errc::kMalformed);
  refused([](Forged& f) { f.round = bytes_of({0x80 | kRound, 0x00}); }, "a padded round", Errc::kMalformed);
  refused([](Forged& f) { f.client = bytes_of({0xAC, 0x82, 0x00}); }, "a padded client", Errc::kMalformed);
  refused(
      [](Forged& f) {
        f.client = bytes_of({0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02});
      },
      "65 bits", Errc::kMalformed);
  refused([](Forged& f) { f.client = std::vector<std::byte>(11, std::byte{0x80}); }, "a number without end");
  refused([](Forged& f) { f.client = varint(kClient + 1); }, "another client", Errc::kWrongClient);
  refused([](Forged& f) { f.rest.clear(); }, "no section");
}

TEST_P(EveryPlanUnderAttack, LiesInTheTableOfSectionsAreRefused) {
  const auto [codec, good, frame] = make(37);
  const FrameInfo info = inspect(frame);
  const std::vector<std::byte> sections = {frame.begin() + static_cast<std::ptrdiff_t>(info.header_bytes), frame.end()};
  const Forged base{.required_flags = 1,
                    .fingerprint = info.fingerprint,
                    .round = varint(kRound),
                    .client = varint(kClient),
                    .rest = {}};
  for (const std::uint64_t count : {0ull, 1ull, 2ull, 3ull, 4ull, 100ull, 1ull << 32, 1ull << 60, ~0ull}) {
    if (count == info.sections.size()) continue;
    Forged forged = base;
    forged.rest = varint(count);
    forged.rest.insert(forged.rest.end(), sections.begin() + (info.sections.size() > 1 ? 1 : 0), sections.end());
    EXPECT_EQ(offer(codec, good, forged.bytes()), Outcome::kRefused) << count;
  }
  // A megabyte of sections of no bytes each.
  Forged many = base;
  many.rest = varint(1 << 20);
  many.rest.resize(many.rest.size() + (1 << 20));
  EXPECT_EQ(offer(codec, good, many.bytes()), Outcome::kRefused);
  if (info.sections.size() < 2) return;
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{info.sections[0].bytes - 1}, std::uint64_t{info.sections[0].bytes + 1},
        std::uint64_t{1} << 31, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
    Forged forged = base;
    forged.rest = varint(info.sections.size());
    for (const auto& part : {varint(length), std::vector<std::byte>(sections.begin() + 2, sections.end())})
      forged.rest.insert(forged.rest.end(), part.begin(), part.end());
    EXPECT_EQ(offer(codec, good, forged.bytes()), Outcome::kRefused) << length;
  }
}

TEST_P(EveryPlanUnderAttack, BombsAndGiantClaimsAreRefusedWithoutMemoryForThem) {
  const auto [codec, good, frame] = make(37);
  const FrameInfo info = inspect(frame);
  const auto resident = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;  // kilobytes
  };
  const auto before = resident();
  for (const auto& payload : {zstd_bomb(1 << 15), zstd_bomb(1), zstd_giant_claim()})  // 4 GiB in 128 KiB
    for (const std::size_t keep : {info.header_bytes, info.sections.back().offset, info.sections.back().offset + 8}) {
      if (keep > frame.size() || keep + payload.size() == frame.size()) continue;  // of that size it may be a frame
      std::vector<std::byte> bomb(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(keep));
      bomb.insert(bomb.end(), payload.begin(), payload.end());
      EXPECT_EQ(offer(codec, good, resealed(bomb)), Outcome::kRefused);
    }
  EXPECT_LE(resident() - before, 64 << 10);
}

}  // namespace
}  // namespace fewbits::test
