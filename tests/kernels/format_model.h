#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

// The shared randomness and the loops of docs/frame-format.md §4–§7, written again from that text, one word and one
// value at a time: what the kernels are compared with. Nothing here includes the library.
namespace fewbits::format_model {

inline std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

inline std::uint64_t key(const std::vector<std::uint64_t>& fields) {
  std::uint64_t result = 0;
  for (const std::uint64_t field : fields) result = mix((result ^ field) + 0x9E3779B97F4A7C15ull);
  return result;
}

// One xoshiro128++ generator.
struct Xoshiro {
  std::uint32_t s[4];

  std::uint32_t next() {
    const std::uint32_t result = std::rotl(s[0] + s[3], 7) + s[0];
    const std::uint32_t t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = std::rotl(s[3], 11);
    return result;
  }
};

class Stream {
 public:
  explicit Stream(std::uint64_t stream_key) : key_(stream_key) {}

  std::uint32_t word(std::uint64_t i) {
    const std::uint64_t block = i / 2048;
    auto [found, fresh] = blocks_.try_emplace(block);
    if (fresh) found->second = make_block(block);
    return found->second[i % 2048];
  }

 private:
  std::array<std::uint32_t, 2048> make_block(std::uint64_t block) const {
    std::array<std::uint32_t, 2048> words{};
    for (unsigned lane = 0; lane < 16; ++lane) {
      Xoshiro generator{};
      for (unsigned row = 0; row < 4; ++row) {
        const std::uint64_t j = 8 * row + lane / 2;
        const std::uint64_t z = mix(key_ + (4096 * block + j) * 0x9E3779B97F4A7C15ull);
        generator.s[row] = static_cast<std::uint32_t>(lane % 2 == 0 ? z : z >> 32);
      }
      for (unsigned step = 0; step < 128; ++step) words[16 * step + lane] = generator.next();
    }
    return words;
  }

  std::uint64_t key_;
  std::map<std::uint64_t, std::array<std::uint32_t, 2048>> blocks_;
};

// §5, `hadamard`: value i is negated.
inline bool negated(Stream& signs, std::uint64_t i) {
  return (signs.word(16 * (i / 512) + i % 16) >> (i / 16 % 32) & 1) != 0;
}

// §4, the subset of k out of n by its marks.
inline std::vector<std::uint32_t> subset(Stream& stream, std::uint64_t k, std::uint64_t n) {
  const bool members = k <= n / 2;
  const std::uint64_t draws = members ? k : n - k;
  std::vector<bool> marked(n);
  for (std::uint64_t j = 0; j < draws; ++j) {
    const std::uint64_t last = n - draws + j;
    const std::uint64_t r = stream.word(2 * j) + (static_cast<std::uint64_t>(stream.word(2 * j + 1)) << 32);
    const auto v = static_cast<std::uint64_t>(static_cast<unsigned __int128>(r) * (last + 1) >> 64);
    marked[marked[v] ? last : v] = true;
  }
  std::vector<std::uint32_t> chosen;
  for (std::uint64_t i = 0; i < n; ++i)
    if (marked[i] == members) chosen.push_back(static_cast<std::uint32_t>(i));
  return chosen;
}

// §6, `quantize`: the symbol of value v of a block from lo to hi, K = 2^bits − 1, with the dither of value g.
inline std::uint32_t symbol(Stream& dither, std::uint64_t g, float lo, float hi, std::uint32_t steps, float v) {
  if (lo == hi) return 0;
  const float most = std::max(std::abs(lo), std::abs(hi));
  int exponent = 0;
  std::frexp(most, &exponent);  // most = f · 2^exponent with f in [1/2, 1)
  const int power = 1 - exponent;
  const int power1 = std::min(std::max(power, -126), 127);
  const auto normalized = [&](float value) {
    return (value * std::ldexp(1.0f, power1)) * std::ldexp(1.0f, power - power1);
  };
  const auto slope =
      static_cast<float>(steps / (static_cast<double>(normalized(hi)) - static_cast<double>(normalized(lo))));
  const float place = std::min((normalized(v) - normalized(lo)) * slope, static_cast<float>(steps));
  const auto t = static_cast<std::uint64_t>(std::nearbyint(place * 8388608.0f));
  std::uint32_t word = dither.word(16 * (g / 32) + g % 16);
  if (g / 16 % 2 == 1) word = std::rotl(word, 16);
  return static_cast<std::uint32_t>((t + (word >> 9)) / 8388608);
}

// §7, `pack`: bit by bit.
inline std::vector<std::uint8_t> pack(const std::vector<std::uint32_t>& symbols, unsigned bits) {
  std::vector<std::uint8_t> bytes;
  unsigned shift = 0;
  for (const unsigned p : {32u, 16u, 8u, 4u, 2u, 1u}) {
    if ((bits & p) == 0) continue;
    const std::size_t run = 16 * (32 / p);
    const std::size_t full = symbols.size() / run * run;
    const std::size_t start = bytes.size();
    bytes.resize(start + full / run * 64 + ((symbols.size() - full) * p + 7) / 8);
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      const std::size_t j = i % run / 16;
      const std::size_t lane = i % 16;
      const std::size_t first_bit = i < full ? i / run * 512 + lane * 32 + p * j : full / run * 512 + (i - full) * p;
      for (unsigned b = 0; b < p; ++b)
        if ((symbols[i] >> (shift + b) & 1) != 0)
          bytes[start + (first_bit + b) / 8] |= static_cast<std::uint8_t>(1u << ((first_bit + b) % 8));
    }
    shift += p;
  }
  return bytes;
}

}  // namespace fewbits::format_model
