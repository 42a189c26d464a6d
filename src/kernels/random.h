#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>

// The one generator of the project: shared by client and server in the codecs, by partitions, sampling, batches and
// initial models in the harness. docs/frame-format.md specifies it bit by bit. Not cryptographic.
namespace fewbits {

// What a stream is used for. Numbers are part of the format: never change or reuse one.
enum class Purpose : std::uint32_t {
  kSigns = 1,          // random signs before a rotation
  kSigns2 = 2,         // the same before the rotation of the overlapping tail
  kSubset = 3,         // which coordinates a mask keeps
  kRounding = 4,       // probabilistic quantization
  kFamilyMask = 5,     // free coordinates of a structured mask
  kFamilyFactor = 6,   // the fixed factor of a structured low-rank update
  kKeep = 7,           // which coordinates a scale model keeps
  kDither = 8,         // subtractive dither, and the sign that goes with it
  kPilot = 9,          // which values an encoder looks at to choose its steps
  kPermutation = 11,   // how a cohort shares out the coordinates
  kSketchCell = 12,    // which cells of a sketch coordinates are added to
  kSketchSign = 13,    // and with which signs
  kLowRankStart = 14,  // where the search for low-rank factors starts; encoders only
  kDownlink = 15,      // frames of the server to its clients
  // Harness. Not on the wire, kept in the same list so that no two uses share a stream.
  kPartition = 100,
  kClientSampling = 101,
  kBatches = 102,
  kInitialModel = 103,
  kSynthetic = 104,    // vectors that `fewbits measure` draws, and tests
  kLink = 105,         // a client's speeds, latency and compute time
  kLinkAway = 106,     // whether it is away in a round
  kLinkFade = 107,     // how good its connection is in a round
  kLinkLost = 108,     // whether it is lost in its upload, and where
  kLinkTrace = 109,    // which rows of a trace clients take
};

// The finalizer of splitmix64: a bijection of 64-bit words (Steele, Lea, Flood 2014).
constexpr std::uint64_t mix64(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

inline constexpr std::uint64_t kGoldenRatio = 0x9E3779B97F4A7C15u;

// Hashes fields, in order, to the key of a stream.
constexpr std::uint64_t stream_key(std::initializer_list<std::uint64_t> fields) noexcept {
  std::uint64_t key = 0;
  for (const std::uint64_t field : fields) key = mix64((key ^ field) + kGoldenRatio);
  return key;
}

// A stream of 32-bit words in which any word can be had without those before it. Blocks of 2048 words are 128 steps of
// 16 xoshiro128++ generators side by side (Blackman, Vigna 2021), seeded from (key, block); word i is lane i mod 16.
// Clean in PractRand as one stream and across consecutive keys.
class RandomStream {
 public:
  static constexpr std::size_t kLanes = 16;
  static constexpr std::size_t kBlockWords = 2048;

  explicit RandomStream(std::uint64_t key) noexcept : key_(key) {}

  // words[j] = word (first + j) of the stream.
  void fill(std::uint64_t first, std::span<std::uint32_t> words) const noexcept;

  std::uint32_t word(std::uint64_t index) const noexcept {
    std::uint32_t one;
    fill(index, {&one, 1});
    return one;
  }

 private:
  std::uint64_t key_;
};

// Words of a stream one after the other, for loops whose draws have an order of their own. Buffers a block.
class RandomReader {
 public:
  explicit RandomReader(std::uint64_t key) noexcept : stream_(key) {}

  std::uint32_t next() noexcept {
    if (used_ == buffer_.size()) refill();
    return buffer_[used_++];
  }

  // Low word first.
  std::uint64_t next64() noexcept {
    const std::uint64_t low = next();
    return low | static_cast<std::uint64_t>(next()) << 32;
  }

  // Uniform in [0, bound), bound > 0; each value's chance is within 2^-64 of 1/bound.
  std::uint64_t below(std::uint64_t bound) noexcept {
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(next64()) * bound >> 64);
  }

  // Uniform in [0, 1), a multiple of 2^-53.
  double uniform() noexcept { return static_cast<double>(next64() >> 11) * 0x1p-53; }

 private:
  void refill() noexcept;

  RandomStream stream_;
  std::uint64_t position_ = 0;
  std::array<std::uint32_t, RandomStream::kBlockWords> buffer_{};
  std::size_t used_ = buffer_.size();
};

}  // namespace fewbits
