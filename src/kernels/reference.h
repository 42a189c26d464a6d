#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "kernels/kernels.h"
#include "kernels/random.h"

// The plain loops that define the kernels. Compiled with -ffp-contract=off; every order of operations here is part of the
// frame format (docs/frame-format.md).
namespace fewbits::reference {

inline bool all_finite(std::span<const float> x) noexcept {
  std::uint32_t worst = 0;
  for (const float value : x) worst = std::max(worst, std::bit_cast<std::uint32_t>(value) & 0x7FFF'FFFFu);
  return worst < 0x7F80'0000u;
}

inline kernels::Range min_max(std::span<const float> x) noexcept {
  float least = x.front();
  float most = x.front();
  for (const float value : x) {
    least = value < least ? value : least;
    most = value > most ? value : most;
  }
  return {least + 0.0f, most + 0.0f};
}

// Butterflies at distances 1, 2, 4, …: the order fixes the rounding.
template <class T>
void walsh_hadamard(std::span<T> x) noexcept {
  for (std::size_t half = 1; half < x.size(); half *= 2) {
    for (std::size_t start = 0; start < x.size(); start += 2 * half) {
      T* low = x.data() + start;
      T* high = low + half;
      for (std::size_t i = 0; i < half; ++i) {
        const T a = low[i];
        const T b = high[i];
        low[i] = a + b;
        high[i] = a - b;
      }
    }
  }
}

// Value 512·b + 16·j + l takes bit j of word 16·b + l: 1 flips the sign.
template <class T>
void flip_signs(std::uint64_t key, std::span<T> x) noexcept {
  constexpr std::size_t kLanes = RandomStream::kLanes;
  constexpr std::size_t kValues = RandomStream::kBlockWords * 32;
  const RandomStream stream(key);
  std::uint32_t words[RandomStream::kBlockWords];
  for (std::size_t start = 0; start < x.size(); start += kValues) {
    const auto part = x.subspan(start, std::min(kValues, x.size() - start));
    const std::size_t used = (part.size() + 32 * kLanes - 1) / (32 * kLanes) * kLanes;
    stream.fill(start / 32, {words, used});
    for (std::size_t i = 0; i < part.size(); ++i) {
      const std::uint32_t word = words[i / (32 * kLanes) * kLanes + i % kLanes];
      const bool flip = (word >> (i / kLanes % 32) & 1) != 0;
      part[i] = flip ? -part[i] : part[i];
    }
  }
}

template <class T>
void scale(std::span<T> x, T factor) noexcept {
  for (T& value : x) value *= factor;
}

// Powers of two whose product brings the larger magnitude of a range to [1, 2): float32 keeps its full precision there,
// and steps of denormals stay finite. Two factors, since one may be beyond float32.
struct Normalizer {
  float first = 1;
  float second = 1;

  explicit Normalizer(kernels::Range range) noexcept {
    const float most = std::max(std::abs(range.min), std::abs(range.max));
    if (most == 0) return;
    const int exponent = -std::ilogb(most);
    const int part = std::clamp(exponent, -126, 127);
    first = power_of_two(part);
    second = power_of_two(exponent - part);
  }

  float operator()(float value) const noexcept { return value * first * second; }

 private:
  static float power_of_two(int exponent) noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
  }
};

inline constexpr int kDitherBits = 23;

// The dither of value 32·b + 16·h + l is the top 23 bits of word 16·b + l, its halves exchanged where h = 1: a word serves
// two values, each with uniform dither of its own. Unbiased within 2^-24 of a step, and float32's rounding of x.
inline void quantize_uniform(std::uint64_t key, std::uint64_t first, kernels::Range range, std::uint32_t levels,
                             std::span<const float> x, std::span<std::int32_t> symbols) noexcept {
  if (range.min == range.max) {
    std::ranges::fill(symbols, 0);
    return;
  }
  constexpr std::size_t kLanes = RandomStream::kLanes;
  constexpr std::size_t kValues = RandomStream::kBlockWords * 2;
  const Normalizer normalize(range);
  const float low = normalize(range.min);
  const float high = normalize(range.max);
  const auto most = static_cast<float>(levels);
  const auto slope = static_cast<float>(levels / (static_cast<double>(high) - static_cast<double>(low)));
  const RandomStream stream(key);
  std::uint32_t words[RandomStream::kBlockWords];
  for (std::size_t start = 0; start < x.size(); start += kValues) {
    const std::size_t count = std::min(kValues, x.size() - start);
    const std::size_t used = (count + 2 * kLanes - 1) / (2 * kLanes) * kLanes;
    stream.fill((first + start) / 2, {words, used});
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t word = words[i / (2 * kLanes) * kLanes + i % kLanes];
      const std::uint32_t dither = (i / kLanes % 2 != 0 ? std::rotl(word, 16) : word) >> (32 - kDitherBits);
      const float place = std::min((normalize(x[start + i]) - low) * slope, most);
      const auto fixed = static_cast<std::uint32_t>(std::lrint(place * static_cast<float>(1 << kDitherBits)));
      symbols[start + i] = static_cast<std::int32_t>((fixed + dither) >> kDitherBits);
    }
  }
}

inline void accumulate_uniform(kernels::Range range, std::uint32_t levels, std::span<const std::int32_t> symbols,
                               double weight, std::span<double> sum) noexcept {
  const double low = range.min;
  const double step = (static_cast<double>(range.max) - low) / levels;
  const double base = weight * low;
  const double slope = weight * step;
  for (std::size_t i = 0; i < symbols.size(); ++i) sum[i] += base + slope * symbols[i];
}

// Symbols of `bits` bits are cut, low bits first, into planes of 32, 16, 8, 4, 2 and 1 bits, as the binary digits of
// `bits` say; the planes follow one another. In a plane of w bits, 16·(32/w) values make 16 words: value 16·j + l of them
// is at bit w·j of word l. The values left over are packed one after the other, low bits first, into whole bytes.
template <class Visit>
void for_planes(std::size_t count, unsigned bits, Visit visit) {
  unsigned shift = 0;
  std::size_t offset = 0;
  for (unsigned width = 32; width != 0; width /= 2) {
    if ((bits & width) == 0) continue;
    visit(width, shift, offset);
    shift += width;
    const std::size_t block = 16 * (32 / width);
    offset += count / block * 64 + (count % block * width + 7) / 8;
  }
}

inline std::size_t packed_bytes(std::size_t count, unsigned bits) noexcept {
  std::size_t total = 0;
  for (unsigned width = 32; width != 0; width /= 2) {
    const std::size_t block = 16 * (32 / width);
    if ((bits & width) != 0) total += count / block * 64 + (count % block * width + 7) / 8;
  }
  return total;
}

constexpr std::uint32_t low_bits(unsigned width) noexcept { return width == 32 ? ~0u : (1u << width) - 1; }

// The values of a plane from `start` on, one after the other.
inline void pack_rest(std::span<const std::int32_t> symbols, std::size_t start, unsigned width, unsigned shift,
                      std::byte* out) noexcept {
  std::uint64_t pending = 0;
  unsigned held = 0;
  for (; start < symbols.size(); ++start) {
    const std::uint32_t part = static_cast<std::uint32_t>(symbols[start]) >> shift & low_bits(width);
    pending |= static_cast<std::uint64_t>(part) << held;
    for (held += width; held >= 8; held -= 8, pending >>= 8) *out++ = static_cast<std::byte>(pending & 0xFF);
  }
  if (held != 0) *out = static_cast<std::byte>(pending & 0xFF);
}

// Whether the padding is zero. The plane at bit 0 writes symbols, others add their bits.
inline bool unpack_rest(const std::byte* in, std::size_t start, unsigned width, unsigned shift,
                        std::span<std::int32_t> symbols) noexcept {
  std::uint64_t pending = 0;
  unsigned held = 0;
  for (; start < symbols.size(); ++start) {
    for (; held < width; held += 8) pending |= static_cast<std::uint64_t>(*in++) << held;
    const std::uint32_t before = shift == 0 ? 0 : static_cast<std::uint32_t>(symbols[start]);
    const std::uint32_t part = static_cast<std::uint32_t>(pending) & low_bits(width);
    symbols[start] = static_cast<std::int32_t>(before | part << shift);
    pending >>= width;
    held -= width;
  }
  return pending == 0;
}

inline void pack(std::span<const std::int32_t> symbols, unsigned bits, std::span<std::byte> bytes) noexcept {
  for_planes(symbols.size(), bits, [&](unsigned width, unsigned shift, std::size_t offset) {
    const unsigned per_word = 32 / width;
    const std::size_t block = 16 * per_word;
    const std::uint32_t mask = low_bits(width);
    const auto part = [&](std::size_t i) { return static_cast<std::uint32_t>(symbols[i]) >> shift & mask; };
    std::byte* out = bytes.data() + offset;
    std::size_t start = 0;
    for (; start + block <= symbols.size(); start += block, out += 64) {
      std::uint32_t words[16] = {};
      for (unsigned j = 0; j < per_word; ++j)
        for (unsigned lane = 0; lane < 16; ++lane) words[lane] |= part(start + 16 * j + lane) << (width * j);
      std::memcpy(out, words, sizeof words);
    }
    pack_rest(symbols, start, width, shift, out);
  });
}

inline bool unpack(std::span<const std::byte> bytes, unsigned bits, std::span<std::int32_t> symbols) noexcept {
  bool canonical = true;
  std::ranges::fill(symbols, 0);
  for_planes(symbols.size(), bits, [&](unsigned width, unsigned shift, std::size_t offset) {
    const unsigned per_word = 32 / width;
    const std::size_t block = 16 * per_word;
    const std::uint32_t mask = low_bits(width);
    const auto put = [&](std::size_t i, std::uint32_t part) {
      symbols[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(symbols[i]) | part << shift);
    };
    const std::byte* in = bytes.data() + offset;
    std::size_t start = 0;
    for (; start + block <= symbols.size(); start += block, in += 64) {
      std::uint32_t words[16];
      std::memcpy(words, in, sizeof words);
      for (unsigned j = 0; j < per_word; ++j)
        for (unsigned lane = 0; lane < 16; ++lane) put(start + 16 * j + lane, words[lane] >> (width * j) & mask);
    }
    canonical = unpack_rest(in, start, width, shift, symbols) && canonical;
  });
  return canonical;
}

inline std::uint16_t to_half(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7FFF'FFFFu;
  if (magnitude >= 0x4780'0000u) {   // 65536 and over, infinities, NaN
    const bool nan = magnitude > 0x7F80'0000u;
    return static_cast<std::uint16_t>(sign | (nan ? 0x7E00u : 0x7C00u));
  }
  if (magnitude < 0x3880'0000u) {    // under 2^-14: a multiple of 2^-24, rounded by adding and cutting off 0.5's fraction
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F00'0000u));
  }
  const std::uint32_t rounded = magnitude + 0x0FFFu + (magnitude >> 13 & 1);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x3800'0000u) >> 13));
}

inline float from_half(std::uint16_t half) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7FFFu;
  if (magnitude >= 0x7C00u) return std::bit_cast<float>(sign | 0x7F80'0000u | (magnitude & 0x3FFu) << 13);
  if (magnitude >= 0x0400u) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x3800'0000u));
  const float small = static_cast<float>(magnitude) * 0x1p-24f;
  return sign != 0 ? -small : small;
}

inline std::uint16_t to_bfloat(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFF'FFFFu) > 0x7F80'0000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

inline float from_bfloat(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

// Lane l adds the terms l, l + 16, … in this order, then lane l adds lane l + 8, l + 4, l + 2, l + 1.
template <class Term>
double lane_sum(std::size_t count, Term term) noexcept {
  constexpr std::size_t kLanes = RandomStream::kLanes;
  double lanes[kLanes] = {};
  for (std::size_t start = 0; start < count; start += kLanes)
    for (std::size_t lane = 0; lane < std::min(kLanes, count - start); ++lane) lanes[lane] += term(start + lane);
  for (std::size_t half = kLanes / 2; half != 0; half /= 2)
    for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

inline double sum_of_squares(std::span<const float> x) noexcept {
  return lane_sum(x.size(), [&](std::size_t i) { return static_cast<double>(x[i]) * static_cast<double>(x[i]); });
}

inline double sum_of_weighted_squares(std::span<const float> x, std::span<const double> weights) noexcept {
  return lane_sum(x.size(), [&](std::size_t i) { return static_cast<double>(x[i]) * static_cast<double>(x[i]) * weights[i]; });
}

inline void add_squares(std::span<const float> x, double factor, std::span<double> sums) noexcept {
  for (std::size_t i = 0; i < x.size(); ++i) sums[i] += static_cast<double>(x[i]) * static_cast<double>(x[i]) * factor;
}

inline double sum_of_magnitudes(std::span<const float> x) noexcept {
  return lane_sum(x.size(), [&](std::size_t i) { return static_cast<double>(std::abs(x[i])); });
}

inline double sum_of_products(std::span<const float> x, std::span<const std::int32_t> symbols,
                              std::span<const double> points) noexcept {
  return lane_sum(x.size(), [&](std::size_t i) {
    return static_cast<double>(x[i]) * points[static_cast<std::size_t>(symbols[i])];
  });
}

inline void count_thresholds(std::span<const float> x, std::span<const float> thresholds,
                             std::span<std::int32_t> symbols) noexcept {
  const std::size_t half = (thresholds.size() + 1) / 2;
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::size_t count = 0;
    for (std::size_t step = half; step != 0; step /= 2) count += thresholds[count + step - 1] <= x[i] ? step : 0;
    symbols[i] = static_cast<std::int32_t>(count);
  }
}

inline void accumulate_points(std::span<const double> points, std::span<const std::int32_t> symbols,
                              std::span<double> sum) noexcept {
  for (std::size_t i = 0; i < symbols.size(); ++i) sum[i] += points[static_cast<std::size_t>(symbols[i])];
}

// Value i takes word i. Its magnitude in steps is rounded to a multiple of 2^-32 and the word, a fraction, added: unbiased
// within 2^-33 of a step.
inline void round_magnitudes(std::uint64_t key, std::size_t bucket, std::span<const double> slopes,
                             std::span<const float> x, std::span<std::int32_t> symbols) noexcept {
  const RandomStream stream(key);
  std::uint32_t words[RandomStream::kBlockWords];
  std::size_t at = 0;
  for (std::size_t b = 0; b < slopes.size(); ++b) {
    const double slope = slopes[b] * 0x1p32;
    for (const std::size_t end = std::min(x.size(), (b + 1) * bucket); at < end; ++at) {
      const std::size_t place = at % RandomStream::kBlockWords;
      if (place == 0) stream.fill(at, std::span(words).first(std::min(std::size(words), x.size() - at)));
      const auto steps = static_cast<std::uint64_t>(std::llrint(static_cast<double>(std::abs(x[at])) * slope));
      const auto level = static_cast<std::int32_t>((steps + words[place]) >> 32);
      symbols[at] = level == 0 ? 0 : 2 * level - (x[at] < 0 ? 1 : 0);
    }
  }
}

inline void round_to_steps(double slope, std::int32_t most, std::span<const float> x,
                           std::span<std::int32_t> symbols) noexcept {
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double steps = std::min(std::rint(static_cast<double>(std::abs(x[i])) * slope), static_cast<double>(most));
    const auto level = static_cast<std::int32_t>(steps);
    symbols[i] = level == 0 ? 0 : 2 * level - (x[i] < 0 ? 1 : 0);
  }
}

inline double sum_of_levels(std::span<const float> x, std::span<const std::int32_t> symbols) noexcept {
  return lane_sum(x.size(), [&](std::size_t i) {
    return static_cast<double>(std::abs(x[i])) * ((symbols[i] + 1) / 2);
  });
}

inline void accumulate_signed(double step, std::span<const std::int32_t> symbols, std::span<double> sum) noexcept {
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    const std::int32_t level = (symbols[i] + 1) / 2;
    sum[i] += step * (symbols[i] % 2 == 0 ? level : -level);
  }
}

inline void count_symbols(std::span<const std::int32_t> symbols, std::span<std::uint32_t, 16> counts) noexcept {
  for (const std::int32_t symbol : symbols) ++counts[static_cast<std::size_t>(symbol)];
}

inline std::size_t subset_scratch(std::size_t n) noexcept { return (n + 63) / 64; }

// Floyd's algorithm (Bentley, Floyd 1987) on a bitmap: k draws whatever n, of the members or, where they are fewer, of
// those left out. Draw j is words 2·j (low) and 2·j + 1 of the stream, scaled to [0, n - draws + j].
inline void subset(std::uint64_t key, std::size_t n, std::span<std::uint64_t> scratch,
                   std::span<std::uint32_t> chosen) noexcept {
  const bool members = chosen.size() <= n / 2;
  const std::size_t draws = members ? chosen.size() : n - chosen.size();
  std::ranges::fill(scratch, 0);
  RandomReader random(key);
  for (std::size_t last = n - draws; last < n; ++last) {
    const std::uint64_t drawn = random.below(last + 1);
    const std::uint64_t taken = scratch[drawn / 64] >> (drawn % 64) & 1;
    const std::uint64_t mark = taken != 0 ? last : drawn;
    scratch[mark / 64] |= std::uint64_t{1} << (mark % 64);
  }
  std::size_t count = 0;
  for (std::size_t w = 0; w < scratch.size(); ++w) {
    std::uint64_t word = members ? scratch[w] : ~scratch[w];
    if (w + 1 == scratch.size() && n % 64 != 0) word &= (std::uint64_t{1} << (n % 64)) - 1;
    for (; word != 0; word &= word - 1)
      chosen[count++] = static_cast<std::uint32_t>(64 * w + static_cast<unsigned>(std::countr_zero(word)));
  }
}

// Bit patterns of magnitudes are ordered as the magnitudes. The k-th largest is found digit by digit, from counts of each
// digit's values among the patterns that agree with it so far.
inline void largest(std::span<const float> x, std::span<std::uint32_t> chosen) noexcept {
  const auto magnitude = [&](std::size_t i) { return std::bit_cast<std::uint32_t>(x[i]) & 0x7FFF'FFFFu; };
  std::size_t wanted = chosen.size();
  if (wanted == 0) return;
  std::uint32_t prefix = 0;
  for (const auto& [shift, width] : {std::pair{20u, 11u}, {10u, 10u}, {0u, 10u}}) {
    std::uint32_t counts[4][1 << 11] = {};   // neighbours count apart, so that they need not wait for one another
    const std::uint32_t mask = (1u << width) - 1;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::uint32_t digits = magnitude(i) >> shift;
      if (digits >> width == prefix) ++counts[i % 4][digits & mask];
    }
    std::uint32_t digit = mask;
    const auto count = [&] { return std::size_t{counts[0][digit]} + counts[1][digit] + counts[2][digit] + counts[3][digit]; };
    for (; count() < wanted; --digit) wanted -= count();
    prefix = prefix << width | digit;
  }
  // All above the k-th largest are chosen, and the first `wanted` that equal it.
  std::size_t found = 0;
  for (std::size_t i = 0; found < chosen.size(); ++i) {
    const bool equal = magnitude(i) == prefix;
    if (magnitude(i) < prefix || (equal && wanted == 0)) continue;
    wanted -= equal ? 1 : 0;
    chosen[found++] = static_cast<std::uint32_t>(i);
  }
}

}  // namespace fewbits::reference
