#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/codecs/hard_inputs.h"
#include "tests/engine/hostile.h"
#include "tests/engine/plans.h"

namespace fewbits::test {
namespace {

constexpr Context kKeys{7, 3, 1};

std::size_t kept(double keep, std::size_t n) {
  return n == 0 ? 0 : std::clamp<std::size_t>(static_cast<std::size_t>(keep * static_cast<double>(n) + 0.5), 1, n);
}

Codec topk(double keep, std::size_t n, const std::string& quantizer = "f32") {
  return Codec::compile("topk:keep=" + decimal(keep) + "+" + quantizer, n);
}

// What is sent for the positions: all but the header and k values of 4 bytes.
std::size_t position_bytes(const Codec& codec, std::span<const float> x, std::size_t k) {
  const auto frame = codec.encode(x, kKeys);
  return frame.size() - inspect(frame).header_bytes - 4 * k;
}

// A vector whose k largest magnitudes are at these positions.
std::vector<float> marked(std::size_t n, const std::vector<std::size_t>& positions) {
  auto x = normal(n, 5, 1e-3);
  for (const std::size_t at : positions) x[at] = at % 2 == 0 ? 1.0f : -2.0f;
  return x;
}

double log2_choose(std::size_t n, std::size_t k) {
  const auto lg = [](std::size_t v) { return std::lgamma(static_cast<double>(v) + 1) / std::log(2.0); };
  return lg(n) - lg(k) - lg(n - k);
}

TEST(TopK, KeepsTheLargestAsTheyAreAndOfEqualOnesTheFirst) {
  for (const std::size_t n : {0, 1, 2, 3, 5, 31, 32, 33, 255, 256, 257, 1000, 65537})
    for (const double keep : {1e-9, 0.01, 0.1, 0.5, 0.9, 1.0}) {
      if (n == 0) {
        EXPECT_TRUE(topk(keep, 0).decode(topk(keep, 0).encode({}, kKeys), {7}).empty());
        continue;
      }
      for (const auto& [name, x] : hard_inputs(n)) {
        std::vector<std::size_t> order(n);
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return std::abs(x[a]) > std::abs(x[b]); });
        std::vector<float> want(n);
        for (std::size_t i = 0; i < kept(keep, n); ++i) want[order[i]] = x[order[i]];
        const Codec codec = topk(keep, n);
        EXPECT_EQ(codec.decode(codec.encode(x, kKeys), {7}), want) << name << ", " << n << ", " << keep;
      }
    }
}

// ‖x̂ − x‖² ≤ (1 − k/n)·‖x‖², with equality where all magnitudes are equal.
TEST(TopK, IsAContraction) {
  for (const std::size_t n : {2, 37, 1000})
    for (const double keep : {1e-9, 0.01, 0.1, 0.5, 0.9, 1.0}) {
      const Codec codec = topk(keep, n);
      const double bound = 1 - static_cast<double>(kept(keep, n)) / static_cast<double>(n);
      EXPECT_NEAR(codec.describe().nmse_bound.value(), bound, 1e-12);
      EXPECT_EQ(codec.describe().unbiased, bound == 0 ? Unbiased::kAlways : Unbiased::kNo);
      for (const auto& [name, x] : hard_inputs(n)) {
        const double error = squared_distance(codec.decode(codec.encode(x, kKeys), {7}), x);
        const double energy = std::pow(norm(x), 2);
        EXPECT_LE(error, bound * energy * (1 + 1e-12)) << name;
        if (name == "all equal" || name == "alternating signs") {
          EXPECT_NEAR(error, bound * energy, 1e-6 * energy);
        }
      }
    }
}

// Of a normal value, what lies under the threshold t with P(|x| > t) = p: NMSE = 1 − p − 2·t·φ(t). 0.9155 at 1 %, where
// t = 2.5758. The error of 2^18 coordinates' sum is under 1 % of it.
TEST(TopK, ErrsByTheEnergyUnderTheThreshold) {
  constexpr std::size_t kN = 1 << 18;
  const auto x = normal(kN, 1);
  for (const auto& [keep, t] : {std::pair{0.01, 2.575829}, {0.1, 1.644854}, {0.001, 3.290527}}) {
    const Codec codec = topk(keep, kN);
    const double nmse = squared_distance(codec.decode(codec.encode(x, kKeys), {7}), x) / std::pow(norm(x), 2);
    const double exact = 1 - keep - 2 * t * std::exp(-t * t / 2) / std::sqrt(2 * std::numbers::pi);
    EXPECT_NEAR(nmse, exact, 0.01 * exact) << keep;
  }
}

// Positions that lie anywhere take log2 C(n, k) bits. Beyond: two bytes of the coder's state, one or two of a length, and
// some ten chances that are learnt although nothing is to be learnt: a bit or two each, and while they go on to adapt with
// a weight of 1/128, 1/(256 ln 2) bits a digit that is not certain, of which a gap has two or three: 1 % of it at most.
TEST(TopK, SendsPositionsInLittleMoreThanTheirEntropy) {
  for (const std::size_t n : {100, 4096, 65536, 1 << 20})
    for (const double keep : {0.001, 0.01, 0.1, 0.5, 0.8}) {
      const std::size_t k = kept(keep, n);
      const double entropy = log2_choose(n, k) / 8;
      double bytes = 0;
      constexpr int kDraws = 4;
      for (std::uint64_t draw = 0; draw < kDraws; ++draw)
        bytes += static_cast<double>(position_bytes(topk(keep, n), normal(n, 10 + draw), k)) / kDraws;
      EXPECT_LE(bytes, 1.01 * entropy + 7) << k << " of " << n << ": " << bytes << " bytes, entropy " << entropy;
    }
}

// As in a layer of which few inputs and outputs move: rows that are hot and cold, here by factors e^±1, halves that are
// not touched. Their entropy given the rows is about 0.6 of that of positions anywhere.
TEST(TopK, SendsClusteredPositionsInFarLess) {
  constexpr std::size_t kRows = 200, kColumns = 784;
  auto x = normal(kRows * kColumns, 3);
  RandomReader random = reader(4);
  for (std::size_t r = 0; r < kRows; ++r) {
    const double hot = std::exp(draw_normal(random));
    for (std::size_t c = 0; c < kColumns; ++c)
      x[r * kColumns + c] *= static_cast<float>(hot * (c % 28 < 14 ? 1 : 1e-3));
  }
  for (const double keep : {0.01, 0.05}) {
    const std::size_t k = kept(keep, x.size());
    EXPECT_LE(static_cast<double>(position_bytes(topk(keep, x.size()), x, k)), 0.75 * log2_choose(x.size(), k) / 8) << keep;
  }
}

// Frames keep their bound wherever the positions lie; gaps of every length come back.
TEST(TopK, CodesEveryPatternOfPositions) {
  for (const std::size_t n : {5, 64, 1000, 200'000}) {
    for (const double keep : {1e-9, 0.02, 0.3, 0.7}) {
      const std::size_t k = kept(keep, n);
      std::vector<std::vector<std::size_t>> patterns(4, std::vector<std::size_t>(k));
      for (std::size_t i = 0; i < k; ++i) {
        patterns[0][i] = i;                          // all at the front
        patterns[1][i] = n - k + i;                  // all at the end
        patterns[2][i] = i + 1 == k ? n - 1 : i;     // one far from the others
        patterns[3][i] = i * (n / k);                // evenly
      }
      for (std::size_t p = 0; p < patterns.size(); ++p) {
        const Codec codec = topk(keep, n);
        const auto x = marked(n, patterns[p]);
        const auto frame = codec.encode(x, kKeys);
        EXPECT_LE(frame.size(), codec.max_frame_size());
        const auto back = codec.decode(frame, {7});
        for (std::size_t i = 0; i < k; ++i) EXPECT_EQ(back[patterns[p][i]], x[patterns[p][i]]) << n << ", " << p;
        EXPECT_EQ(std::ranges::count_if(back, [](float v) { return v != 0; }), static_cast<std::ptrdiff_t>(k));
      }
    }
  }
  // One coordinate of 2^20, at places of every order of magnitude.
  const Codec codec = topk(1e-9, 1 << 20);
  for (std::size_t at = 1; at < 1 << 20; at = 2 * at + 1) {
    const auto back = codec.decode(codec.encode(marked(1 << 20, {at}), kKeys), {7});
    EXPECT_NE(back[at], 0.0f) << at;
  }
}

// 4 of 40: Rice's code with two low bits. Gaps 3, 6, 0, 27 are the digits 011 1001 000 111111011, written by hand.
TEST(TopK, RefusesPositionsThatNoWriterMakes) {
  const Codec codec = topk(0.1, 40);
  const auto frame = codec.encode(marked(40, {3, 10, 11, 39}), kKeys);
  const std::size_t header = inspect(frame).header_bytes;
  ASSERT_EQ(std::vector(frame.begin() + static_cast<std::ptrdiff_t>(header), frame.end() - 16),
            bytes_of({0x00, 0x4E, 0xFC, 0x06}));
  const auto offer = [&](std::initializer_list<unsigned> positions) {
    auto forged = frame;
    forged.erase(forged.begin() + static_cast<std::ptrdiff_t>(header), forged.end() - 16);
    const auto bytes = bytes_of(positions);
    forged.insert(forged.begin() + static_cast<std::ptrdiff_t>(header), bytes.begin(), bytes.end());
    return refusal([&] { codec.decode(resealed(forged), {7}); });
  };
  EXPECT_EQ(offer({0x00, 0x4E, 0xFC, 0x06}), std::nullopt);
  EXPECT_EQ(offer({0x00, 0x4E, 0xFC, 0x86}), Errc::kMalformed) << "padding";
  EXPECT_EQ(offer({0x00, 0x4E, 0xFC, 0x01}), Errc::kMalformed) << "position 40";
  EXPECT_EQ(offer({0x00, 0xFF, 0xFF, 0xFF}), Errc::kMalformed) << "digits without end";
  // Positions 0, 1, 2 and 38, or 44, by the range coder (frame_format.py).
  EXPECT_EQ(offer({0x05, 0x46, 0xFA, 0x01, 0xE3, 0x77}), std::nullopt);
  EXPECT_EQ(offer({0x05, 0xBB, 0xFA, 0x01, 0x0E, 0xF3}), Errc::kMalformed) << "position 44";
  EXPECT_EQ(offer({0x80, 0x00, 0x4E, 0xFC, 0x06}), Errc::kMalformed) << "a padded length";
  EXPECT_EQ(offer({0xFF, 0xFF, 0xFF, 0xFF, 0x0F}), Errc::kTruncated) << "a length beyond the frame";
  EXPECT_EQ(offer({0x02, 0x4E, 0xFC}), Errc::kMalformed) << "no coder's states";
  EXPECT_EQ(offer({0x04, 0x00, 0x00, 0x01, 0x00}), Errc::kMalformed) << "states as at the start";
  EXPECT_EQ(offer({0x04, 0xFF, 0xFF, 0xFF, 0xFF}), Errc::kMalformed) << "states that end elsewhere";
}

}  // namespace
}  // namespace fewbits::test
