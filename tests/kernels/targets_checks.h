#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/reference.h"
#include "kernels/targets.h"

// Every function of a target's table against the loop that defines it, bit by bit. No test library: a cross build runs the
// same (tests/kernels/targets_program.cpp).
namespace fewbits::targets_checks {

constexpr std::size_t kSizes[] = {0,   1,   2,   3,   7,   8,    15,   16,   17,   31,   32,   33,    63,    64,
                                  65,  100, 127, 128, 255, 256,  257,  511,  512,  513,  1000, 2047,  2048,  2049,
                                  4095, 4096, 4097, 8191, 8193, 65535, 65536, 65537};

// Values at an address that is no multiple of a vector's size, with a guard on both sides.
template <class T>
class Unaligned {
 public:
  Unaligned(std::size_t n, std::size_t offset) : n_(n), offset_(1 + offset), all_(n + offset_ + 16) {
    for (T& value : all_) value = static_cast<T>(77);
  }
  explicit Unaligned(const std::vector<T>& values, std::size_t offset = 0) : Unaligned(values.size(), offset) {
    std::copy(values.begin(), values.end(), data());
  }
  T* data() { return all_.data() + offset_; }
  std::span<T> span() { return {data(), n_}; }
  bool guards_stand() const {
    for (std::size_t i = 0; i < all_.size(); ++i)
      if ((i < offset_ || i >= offset_ + n_) && all_[i] != static_cast<T>(77)) return false;
    return true;
  }

 private:
  std::size_t n_, offset_;
  std::vector<T> all_;
};

template <class T>
bool same(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}
inline bool same(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }

enum class Input { kPlain, kHard, kHuge };

// Finite: of every magnitude, zeros of both signs, halves of odd numbers, denormals; kHuge: up to float32's largest.
inline std::vector<float> values(std::size_t n, Input input, std::uint64_t seed) {
  RandomReader random(stream_key({seed, n}));
  constexpr float kSpecial[] = {0.0f, -0.0f, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 1e-45f, -1e-40f, 1.0f, -1.0f, 0x1p-24f};
  std::vector<float> x(n);
  for (float& value : x) {
    value = static_cast<float>(2 * random.uniform() - 1);
    const std::uint32_t draw = random.next();
    if (input == Input::kHard && draw % 3 == 0) value = kSpecial[draw / 3 % std::size(kSpecial)];
    if (input == Input::kHuge) value *= std::numeric_limits<float>::max();
  }
  return x;
}

inline std::vector<std::int32_t> symbols_below(std::size_t n, std::uint64_t bound, std::uint64_t seed) {
  RandomReader random(stream_key({seed, n, bound}));
  std::vector<std::int32_t> symbols(n);
  for (std::int32_t& symbol : symbols) symbol = static_cast<std::int32_t>(static_cast<std::uint32_t>(random.below(bound)));
  return symbols;
}

inline std::vector<double> doubles(std::size_t n, std::uint64_t seed) {
  RandomReader random(stream_key({seed, n, 3}));
  std::vector<double> z(n);
  for (double& value : z) value = 2 * random.uniform() - 1;
  return z;
}

class Checker {
 public:
  // The names of what differs; empty where all is well.
  std::vector<std::string> failures;

  // Sizes up to `most`, and rotations up to eight times that.
  void all(std::size_t most = (std::size_t{1} << 16) + 1) {
    std::size_t offset = 0;
    for (const std::size_t n : kSizes) {
      if (n > most) break;
      for (const Input input : {Input::kPlain, Input::kHard, Input::kHuge}) {
        n_ = n;
        offset_ = offset++ % 5;
        x_ = values(n, input, offset);
        scans();
        formats();
        if (input != Input::kHuge) quantizers();
      }
      packing();
      sums();
      packed_sums();
      random_words();
    }
    for (std::size_t n = 1; n <= 8 * most; n *= 2) {
      n_ = n;
      offset_ = offset++ % 5;
      x_ = values(n, n % 3 == 0 ? Input::kHard : Input::kPlain, n);
      rotations();
    }
  }

 private:
  void expect(bool well, const char* what) {
    if (!well) failures.push_back(std::string(what) + ", n = " + std::to_string(n_));
  }

  // `act` on a copy at an odd address against `define` on another.
  template <class T, class Act, class Define>
  void compare(const char* what, const std::vector<T>& start, Act act, Define define) {
    Unaligned<T> got(start, offset_);
    std::vector<T> want(start);
    act(got.data());
    define(std::span(want));
    expect(same<T>(got.span(), want) && got.guards_stand(), what);
  }

  void scans() {
    Unaligned<float> x(x_, offset_);
    expect(kernels_.all_finite(x.data(), n_), "all_finite");
    for (const std::size_t at : {std::size_t{0}, n_ / 2, n_ - 1}) {
      if (at >= n_) continue;
      Unaligned<float> bad(x_, offset_);
      bad.data()[at] = at % 2 == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
      expect(!kernels_.all_finite(bad.data(), n_), "all_finite of a bad value");
    }
    if (n_ != 0) {
      const kernels::Range got = kernels_.min_max(x.data(), n_);
      const kernels::Range want = reference::min_max(x_);
      expect(std::memcmp(&got, &want, sizeof got) == 0, "min_max");
    }
    expect(same(kernels_.sum_of_squares(x.data(), n_), reference::sum_of_squares(x_)), "sum_of_squares");
    Unaligned<double> weights(doubles(n_, 13), offset_);
    expect(same(kernels_.sum_of_weighted_squares(x.data(), weights.data(), n_),
                reference::sum_of_weighted_squares(x_, weights.span())), "sum_of_weighted_squares");
    compare("add_squares", doubles(n_, 14), [&](double* p) { kernels_.add_squares(x.data(), 0.3, n_, p); },
            [&](std::span<double> p) { reference::add_squares(x_, 0.3, p); });
    expect(same(kernels_.sum_of_magnitudes(x.data(), n_), reference::sum_of_magnitudes(x_)), "sum_of_magnitudes");
    const std::vector<double> z(x_.begin(), x_.end());
    compare("flip_signs", x_, [&](float* p) { kernels_.flip_signs(5, p, n_); },
            [&](std::span<float> p) { reference::flip_signs(5, p); });
    compare("flip_signs_double", z, [&](double* p) { kernels_.flip_signs_double(5, p, n_); },
            [&](std::span<double> p) { reference::flip_signs(5, p); });
    compare("flip_signs_add", doubles(n_, 4), [&](double* p) { kernels_.flip_signs_add(6, z.data(), p, n_); },
            [&](std::span<double> p) {
              std::vector<double> flipped(z);
              reference::flip_signs(6, std::span(flipped));
              for (std::size_t i = 0; i < n_; ++i) p[i] += flipped[i];
            });
    compare("scale", x_, [&](float* p) { kernels_.scale(p, n_, 0.7f); },
            [&](std::span<float> p) { reference::scale(p, 0.7f); });
    compare("scale_double", z, [&](double* p) { kernels_.scale_double(p, n_, 0.7); },
            [&](std::span<double> p) { reference::scale(p, 0.7); });
  }

  // Patterns of every kind; with them, not finite ones.
  void formats() {
    const std::vector<std::int32_t> blank(n_, 9);
    const std::vector<std::int32_t> patterns = symbols_below(n_, std::uint64_t{1} << 32, 6);
    std::vector<float> wild(n_);
    if (n_ != 0) std::memcpy(wild.data(), patterns.data(), 4 * n_);
    // Magnitudes near those of halves, whose rounding is the hard one.
    std::vector<float> near(x_);
    for (std::size_t i = 0; i < n_; ++i) near[i] *= std::bit_cast<float>(static_cast<std::uint32_t>(100 + i % 44) << 23);
    const auto check = [&](const char* what, auto to, auto from, auto encode, auto accumulate, std::int32_t mask) {
      for (const std::vector<float>& x : {x_, wild, near}) {
        bool finite = true;
        bool got = true;
        compare(what, blank, [&](std::int32_t* p) { got = encode(x.data(), n_, p); },
                [&](std::span<std::int32_t> p) {
                  for (std::size_t i = 0; i < n_; ++i) {
                    p[i] = static_cast<std::int32_t>(to(x[i]));
                    finite = finite && std::isfinite(from(to(x[i])));
                  }
                });
        expect(got == finite, what);
      }
      std::vector<std::int32_t> symbols(patterns);
      for (std::int32_t& symbol : symbols) {
        symbol &= mask;
        if (!std::isfinite(from(to(0.0f)) + from(static_cast<decltype(to(0.0f))>(symbol)))) symbol = 1;
      }
      compare(what, doubles(n_, 8), [&](double* p) { accumulate(0.3, symbols.data(), n_, p); },
              [&](std::span<double> p) {
                for (std::size_t i = 0; i < n_; ++i)
                  p[i] += 0.3 * static_cast<double>(from(static_cast<decltype(to(0.0f))>(symbols[i])));
              });
    };
    check("halves", reference::to_half, reference::from_half, kernels_.to_halves, kernels_.accumulate_halves, 0xFFFF);
    check("bfloats", reference::to_bfloat, reference::from_bfloat, kernels_.to_bfloats, kernels_.accumulate_bfloats,
          0xFFFF);
    const auto bits = [](float value) { return std::bit_cast<std::uint32_t>(value); };
    const auto value = [](std::uint32_t pattern) { return std::bit_cast<float>(pattern); };
    const auto copy = [&](const float* x, std::size_t n, std::int32_t* p) {
      if (n != 0) std::memcpy(p, x, 4 * n);
      return kernels_.all_finite(x, n);
    };
    check("floats", bits, value, copy, kernels_.accumulate_floats, -1);
    std::uint32_t most = 0;
    for (const std::int32_t symbol : patterns) most = std::max(most, static_cast<std::uint32_t>(symbol) & 0x7FFFu);
    expect(kernels_.largest_pattern(patterns.data(), n_, 0x7FFFu) == most, "largest_pattern");
  }

  // Whole blocks of packed symbols, which are what there is of them one after the other.
  void quantize_packed(const char* what, std::uint64_t key, kernels::Range range, const targets::UniformSteps& steps,
                       unsigned bits, std::span<const float> values) {
    const std::size_t block = 16 * (32 / bits);
    Unaligned<float> x(std::vector<float>(values.begin(), values.end()), offset_ + 1);
    std::vector<std::int32_t> symbols(n_);
    reference::quantize_uniform(key, 0, range, (1u << bits) - 1, values, symbols);
    std::vector<std::byte> packed(reference::packed_bytes(n_, bits));
    reference::pack(symbols, bits, packed);
    packed.resize(n_ / block * 64);
    compare(what, std::vector<std::byte>(packed.size(), std::byte{9}),
            [&](std::byte* p) { kernels_.quantize_packed(key, steps, bits, x.data(), n_ / block, p); },
            [&](std::span<std::byte> p) { std::ranges::copy(packed, p.begin()); });
  }

  void quantizers() {
    const std::vector<std::int32_t> blank(n_, 9);
    Unaligned<float> x(x_, offset_ + 1);
    for (const std::uint32_t levels : {1u, 3u, 15u, 255u}) {
      if (n_ == 0) break;
      const kernels::Range range = reference::min_max(x_);
      const std::uint64_t first = 32 * (n_ % 131);
      kernels::Range wide = range;
      if (range.min == range.max) wide.max = range.min + 1;
      const reference::Normalizer normalize(wide);
      const float low = normalize(wide.min);
      const double width = static_cast<double>(normalize(wide.max)) - static_cast<double>(low);
      const targets::UniformSteps steps = {normalize.first, normalize.second, low, static_cast<float>(levels / width),
                                           static_cast<float>(levels)};
      compare("quantize_uniform", blank,
              [&](std::int32_t* p) { kernels_.quantize_uniform(7, first, steps, x.data(), n_, p); },
              [&](std::span<std::int32_t> p) { reference::quantize_uniform(7, first, wide, levels, x_, p); });
      if (normalize.second == 1)
        quantize_packed("quantize_packed", 7, wide, steps, static_cast<unsigned>(std::bit_width(levels)), x_);
    }
    ties();
    beyond();
    for (const std::size_t size : {1u, 3u, 7u, 15u, 31u, 255u}) {
      std::vector<float> thresholds(size);
      for (std::size_t j = 0; j < size; ++j)
        thresholds[j] = static_cast<float>(static_cast<int>(j / 2 * 2) - static_cast<int>(size / 2)) / static_cast<float>(size);
      compare("count_thresholds", blank,
              [&](std::int32_t* p) { kernels_.count_thresholds(x.data(), n_, thresholds.data(), size, p); },
              [&](std::span<std::int32_t> p) { reference::count_thresholds(x_, thresholds, p); });
    }
    for (const std::size_t bucket : {std::size_t{1}, std::size_t{3}, std::size_t{100}, std::size_t{512}, n_ + 1}) {
      std::vector<double> slopes((n_ + bucket - 1) / bucket);
      for (std::size_t b = 0; b < slopes.size(); ++b) slopes[b] = b % 7 == 6 ? 1e5 : 0.37 * static_cast<double>(b % 50);
      compare("round_magnitudes", blank,
              [&](std::int32_t* p) { kernels_.round_magnitudes(8, bucket, slopes.data(), x.data(), n_, p); },
              [&](std::span<std::int32_t> p) { reference::round_magnitudes(8, bucket, slopes, x_, p); });
    }
    for (const double slope : {0.0, 1.0, 3.7, 1e300})
      compare("round_to_steps", blank, [&](std::int32_t* p) { kernels_.round_to_steps(slope, 9, x.data(), n_, p); },
              [&](std::span<std::int32_t> p) { reference::round_to_steps(slope, 9, x_, p); });
    const std::vector<std::int32_t> symbols = symbols_below(n_, 13, 2);
    const std::vector<double> points = doubles(13, 1);
    expect(same(kernels_.sum_of_products(x.data(), symbols.data(), n_, points.data()),
                reference::sum_of_products(x_, symbols, points)), "sum_of_products");
    expect(same(kernels_.sum_of_levels(x.data(), symbols.data(), n_), reference::sum_of_levels(x_, symbols)),
           "sum_of_levels");
  }

  // Halfway between two places of which one, with the dither, is a step further: only rounding to even finds the symbol.
  void ties() {
    std::vector<std::uint32_t> words((n_ + 31) / 32 * 16);
    RandomStream(12).fill(0, words);
    std::vector<float> x(n_);
    for (std::size_t i = 0; i < n_; ++i) {
      const std::uint32_t word = words[i / 32 * 16 + i % 16];
      const std::uint32_t dither = (i / 16 % 2 != 0 ? std::rotl(word, 16) : word) >> 9;
      x[i] = (static_cast<float>((1u << 23) - dither) - 0.5f) * 0x1p-23f;
    }
    const targets::UniformSteps steps = {1, 1, 0, 1, 1};
    compare("quantize_uniform of ties", std::vector<std::int32_t>(n_, 9),
            [&](std::int32_t* p) { kernels_.quantize_uniform(12, 0, steps, x.data(), n_, p); },
            [&](std::span<std::int32_t> p) { reference::quantize_uniform(12, 0, {0, 1}, 1, x, p); });
    quantize_packed("quantize_packed of ties", 12, {0, 1}, steps, 1, x);
  }

  // A slope whose rounding, far more than there ever is, leaves the largest value beyond the last step: it is that step's
  // whatever the dither.
  void beyond() {
    const std::vector<float> x(n_, 1.0f);
    for (const unsigned bits : {1u, 2u, 4u, 8u}) {
      const auto levels = static_cast<float>((1u << bits) - 1);
      const targets::UniformSteps steps = {1, 1, 0, levels * (1 + 0x1p-8f), levels};
      compare("quantize_uniform beyond the last step", std::vector<std::int32_t>(n_, 9),
              [&](std::int32_t* p) { kernels_.quantize_uniform(13, 0, steps, x.data(), n_, p); },
              [&](std::span<std::int32_t> p) { std::ranges::fill(p, static_cast<std::int32_t>(levels)); });
      const std::size_t blocks = n_ * bits / 512;
      compare("quantize_packed beyond the last step", std::vector<std::byte>(64 * blocks, std::byte{9}),
              [&](std::byte* p) { kernels_.quantize_packed(13, steps, bits, x.data(), blocks, p); },
              [&](std::span<std::byte> p) { std::ranges::fill(p, std::byte{0xFF}); });
    }
  }

  void packing() {
    const std::vector<std::int32_t> symbols = symbols_below(n_, std::uint64_t{1} << 32, 1);
    Unaligned<std::int32_t> in(symbols, offset_);
    for (const unsigned bits : {1u, 2u, 3u, 4u, 7u, 8u, 16u, 21u, 32u}) {
      const std::vector<std::byte> blank(reference::packed_bytes(n_, bits));
      std::vector<std::byte> packed(blank);
      reference::pack(symbols, bits, packed);
      std::vector<std::int32_t> unpacked(n_);
      reference::unpack(packed, bits, unpacked);
      reference::for_planes(n_, bits, [&](unsigned width, unsigned shift, std::size_t offset) {
        const std::size_t block = 16 * (32 / width);
        const std::size_t blocks = n_ / block;
        Unaligned<std::byte> got(64 * blocks, offset_);
        kernels_.pack_blocks(in.data(), blocks, width, shift, got.data());
        expect(same<std::byte>(got.span(), std::span(packed).subspan(offset, 64 * blocks)) && got.guards_stand(),
               "pack_blocks");
        // A plane alone: the bits that the planes before it left must stay.
        const std::uint32_t below = shift == 0 ? 0 : reference::low_bits(shift);
        std::vector<std::int32_t> want(blocks * block);
        std::vector<std::int32_t> start(blocks * block, shift == 0 ? -1 : 0);
        for (std::size_t i = 0; i < want.size(); ++i) {
          const auto value = static_cast<std::uint32_t>(unpacked[i]);
          if (shift != 0) start[i] = static_cast<std::int32_t>(value & below);
          want[i] = static_cast<std::int32_t>(value & (below | reference::low_bits(width) << shift));
        }
        Unaligned<std::int32_t> out(start, offset_);
        kernels_.unpack_blocks(got.data(), blocks, width, shift, out.data());
        expect(same<std::int32_t>(out.span(), want) && out.guards_stand(), "unpack_blocks");
      });
    }
  }

  void sums() {
    const std::vector<std::int32_t> symbols = symbols_below(n_, 200, 3);
    for (const std::uint64_t alphabet : {1u, 3u, 16u}) {
      const std::vector<std::int32_t> few = symbols_below(n_, alphabet, 7);
      Unaligned<std::int32_t> unaligned(few, offset_);
      std::uint32_t got[16] = {5};
      std::uint32_t want[16] = {5};
      kernels_.count_symbols(unaligned.data(), n_, got);
      reference::count_symbols(few, want);
      expect(std::ranges::equal(got, want), "count_symbols");
    }
    const std::vector<double> points = doubles(200, 2);
    const std::vector<double> start = doubles(n_, 5);
    Unaligned<std::int32_t> in(symbols, offset_ + 2);
    const kernels::Range range = {-0.3f, 1.7f};
    const double low = range.min;
    const double step = (static_cast<double>(range.max) - low) / 255;
    compare("accumulate_uniform", start,
            [&](double* p) { kernels_.accumulate_uniform(0.3 * low, 0.3 * step, in.data(), n_, p); },
            [&](std::span<double> p) { reference::accumulate_uniform(range, 255, symbols, 0.3, p); });
    compare("accumulate_points", start,
            [&](double* p) { kernels_.accumulate_points(points.data(), in.data(), n_, p); },
            [&](std::span<double> p) { reference::accumulate_points(points, symbols, p); });
    compare("accumulate_signed", start, [&](double* p) { kernels_.accumulate_signed(0.1, in.data(), n_, p); },
            [&](std::span<double> p) { reference::accumulate_signed(0.1, symbols, p); });
  }

  // One frame, a few, as many as there may be; of symbols of any kind.
  void packed_sums() {
    const std::vector<double> start = doubles(n_, 5);
    for (const unsigned bits : {1u, 2u, 4u, 8u}) {
      const std::size_t block = 16 * (32 / bits);
      const std::size_t whole = n_ / block * block;
      const std::vector<double> some(start.begin(), start.begin() + static_cast<std::ptrdiff_t>(whole));
      for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{3}, targets::kPackedFrames}) {
        std::vector<std::vector<std::int32_t>> symbols;
        std::vector<Unaligned<std::byte>> bytes;
        std::vector<targets::PackedUniform> frames;
        for (std::size_t f = 0; f < count; ++f) {
          symbols.push_back(symbols_below(whole, std::uint64_t{1} << bits, 20 + f));
          bytes.emplace_back(whole / block * 64, (offset_ + f) % 7);
          reference::pack(symbols[f], bits, bytes[f].span());
        }
        const auto range = [](std::size_t f) { return kernels::Range{-0.3f * static_cast<float>(f + 1), 1.7f}; };
        const auto weight = [](std::size_t f) { return 0.3 + static_cast<double>(f); };
        for (std::size_t f = 0; f < count; ++f) {
          const double low = range(f).min;
          const double step = (static_cast<double>(range(f).max) - low) / ((1u << bits) - 1);
          frames.push_back({bytes[f].data(), weight(f) * low, weight(f) * step});
        }
        compare("accumulate_packed", some,
                [&](double* p) { kernels_.accumulate_packed(bits, frames.data(), count, whole / block, p); },
                [&](std::span<double> p) {
                  for (std::size_t f = 0; f < count; ++f)
                    reference::accumulate_uniform(range(f), (1u << bits) - 1, symbols[f], weight(f), p);
                });
      }
    }
  }

  // The first target is the portable one; reference.h's users of words go through the table as well.
  void random_words() {
    const std::size_t steps = std::min<std::size_t>(n_ / 16, 128);
    const std::size_t skip = (n_ % 7) % (129 - steps);
    std::vector<std::uint32_t> want(16 * steps);
    available().front()->random_rows(9, n_, skip, steps, want.data());
    Unaligned<std::uint32_t> got(16 * steps, offset_);
    kernels_.random_rows(9, n_, skip, steps, got.data());
    expect(same<std::uint32_t>(got.span(), want) && got.guards_stand(), "random_rows");
  }

  void rotations() {
    const std::vector<double> z(x_.begin(), x_.end());
    compare("walsh_hadamard", x_, [&](float* p) { kernels_.walsh_hadamard(p, n_, 0.3f); },
            [&](std::span<float> p) {
              reference::walsh_hadamard(p);
              reference::scale(p, 0.3f);
            });
    compare("walsh_hadamard_double", z, [&](double* p) { kernels_.walsh_hadamard_double(p, n_, 0.3); },
            [&](std::span<double> p) {
              reference::walsh_hadamard(p);
              reference::scale(p, 0.3);
            });
    compare("walsh_hadamard without a scale", x_, [&](float* p) { kernels_.walsh_hadamard(p, n_, 1.0f); },
            [](std::span<float> p) { reference::walsh_hadamard(p); });
    compare("rotate", std::vector<float>(n_, 5.0f), [&](float* p) { kernels_.rotate(11, x_.data(), p, n_, 0.3f); },
            [&](std::span<float> p) {
              std::ranges::copy(x_, p.begin());
              reference::flip_signs(11, p);
              reference::walsh_hadamard(p);
              reference::scale(p, 0.3f);
            });
    compare("rotate in place", x_, [&](float* p) { kernels_.rotate(11, p, p, n_, 0.3f); },
            [&](std::span<float> p) {
              reference::flip_signs(11, p);
              reference::walsh_hadamard(p);
              reference::scale(p, 0.3f);
            });
  }

  static std::span<const targets::Kernels* const> available() { return targets::available(); }

 public:
  explicit Checker(const targets::Kernels& kernels) : kernels_(kernels) {}

 private:
  const targets::Kernels& kernels_;
  std::size_t n_ = 0;
  std::size_t offset_ = 0;
  std::vector<float> x_;
};

}  // namespace fewbits::targets_checks
