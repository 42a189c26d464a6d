#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// The loops that take the time. No checks, no allocation, nothing that can fail; reference.h defines what each computes,
// to the bit.
namespace fewbits::kernels {

struct Range {
  float min;
  float max;
};

// No NaN and no infinity among x.
bool all_finite(std::span<const float> x) noexcept;

// Least and largest of x (not empty, finite); zeros of either sign come out as +0.
Range min_max(std::span<const float> x) noexcept;

// Walsh–Hadamard transform in place, x.size() = 2^k, in natural (Hadamard) order and without a scale.
void walsh_hadamard(std::span<float> x) noexcept;
void walsh_hadamard(std::span<double> x) noexcept;

// Multiplies each value by a random sign of the stream with this key.
void flip_signs(std::uint64_t key, std::span<float> x) noexcept;
void flip_signs(std::uint64_t key, std::span<double> x) noexcept;

void scale(std::span<float> x, float factor) noexcept;
void scale(std::span<double> x, double factor) noexcept;

// The rotation that these make: y (shape of x, which it may be) = x with signs flipped, transformed, then scaled.
void rotate(std::uint64_t key, std::span<const float> x, float factor, std::span<float> y) noexcept;

// Transforms, scales, then flips signs; of the second, the outcome is added to `sum` and y is left as scratch.
void rotate_back(std::uint64_t key, double factor, std::span<double> y) noexcept;
void rotate_back_add(std::uint64_t key, double factor, std::span<double> y, std::span<double> sum) noexcept;

// Probabilistic quantization to the `levels` + 1 points between range.min and range.max, evenly spaced, with dither from
// the stream of this key starting at value `first` (a multiple of 32). 1 ≤ levels ≤ 255; x within the range.
void quantize_uniform(std::uint64_t key, std::uint64_t first, Range range, std::uint32_t levels,
                      std::span<const float> x, std::span<std::int32_t> symbols) noexcept;

// sum[i] += weight × the point of symbols[i].
void accumulate_uniform(Range range, std::uint32_t levels, std::span<const std::int32_t> symbols, double weight,
                        std::span<double> sum) noexcept;

// Bytes of `count` symbols of `bits` bits (0..32), packed.
std::size_t packed_bytes(std::size_t count, unsigned bits) noexcept;

// bytes (shape [packed_bytes]) = the low `bits` bits of each symbol.
void pack(std::span<const std::int32_t> symbols, unsigned bits, std::span<std::byte> bytes) noexcept;

// False, with symbols unspecified, where a padding bit is set.
bool unpack(std::span<const std::byte> bytes, unsigned bits, std::span<std::int32_t> symbols) noexcept;

// bytes (shape [packed_bytes(n, bits)]) = quantize_uniform with levels = 2^bits − 1 and the stream from its start, packed;
// bits is 1, 2, 4 or 8.
void quantize_packed(std::uint64_t key, Range range, unsigned bits, std::span<const float> x,
                     std::span<std::byte> bytes) noexcept;

// What such bytes hold (shape [packed_bytes(n, bits)], n that of the sum), and a weight.
struct PackedUniform {
  std::span<const std::byte> bytes;
  Range range;
  double weight;
};

// accumulate_uniform of each in turn, to the same sums.
void accumulate_packed(std::span<const PackedUniform> frames, unsigned bits, std::span<double> sum) noexcept;

// IEEE binary16 and bfloat16, rounding to nearest, ties to even; beyond their range infinity.
std::uint16_t to_half(float value) noexcept;
float from_half(std::uint16_t bits) noexcept;
std::uint16_t to_bfloat(float value) noexcept;
float from_bfloat(std::uint16_t bits) noexcept;

// The same of whole arrays, one pattern a symbol; false where one came out infinite or NaN.
bool to_halves(std::span<const float> x, std::span<std::int32_t> symbols) noexcept;
bool to_bfloats(std::span<const float> x, std::span<std::int32_t> symbols) noexcept;

// sum[i] += weight × the value of pattern symbols[i]; the last of binary32.
void accumulate_halves(double weight, std::span<const std::int32_t> symbols, std::span<double> sum) noexcept;
void accumulate_bfloats(double weight, std::span<const std::int32_t> symbols, std::span<double> sum) noexcept;
void accumulate_floats(double weight, std::span<const std::int32_t> symbols, std::span<double> sum) noexcept;

// The largest of the symbols' bits under `mask`, as unsigned numbers; 0 of none.
std::uint32_t largest_pattern(std::span<const std::int32_t> symbols, std::uint32_t mask) noexcept;

// counts[s] += how many of the symbols, all below 16, are s.
void count_symbols(std::span<const std::int32_t> symbols, std::span<std::uint32_t, 16> counts) noexcept;

// Σ x_i², Σ x_i²·weights[i], Σ |x_i|, Σ x_i·points[symbols[i]] in float64, in an order that reference.h fixes.
double sum_of_squares(std::span<const float> x) noexcept;
double sum_of_weighted_squares(std::span<const float> x, std::span<const double> weights) noexcept;
double sum_of_magnitudes(std::span<const float> x) noexcept;
double sum_of_products(std::span<const float> x, std::span<const std::int32_t> symbols,
                       std::span<const double> points) noexcept;

// sums[i] += x_i²·factor.
void add_squares(std::span<const float> x, double factor, std::span<double> sums) noexcept;

// symbols[i] = how many thresholds are at most x_i. They do not fall, and are 2^k − 1, k ≥ 1.
void count_thresholds(std::span<const float> x, std::span<const float> thresholds,
                      std::span<std::int32_t> symbols) noexcept;

// sum[i] += points[symbols[i]].
void accumulate_points(std::span<const double> points, std::span<const std::int32_t> symbols,
                       std::span<double> sum) noexcept;

// Sign and magnitude of values, as symbols: 0 for 0, 2l − 1 for −l, 2l for l. |x_i| times the slope of its bucket, below
// 2^20, is rounded up or down at random, so that its mean stays right, by word i of the stream with this key.
// slopes (shape [ceil(n / bucket)]), bucket > 0.
void round_magnitudes(std::uint64_t key, std::size_t bucket, std::span<const double> slopes, std::span<const float> x,
                      std::span<std::int32_t> symbols) noexcept;

// The same with the nearest level, ties to even, at most `most`.
void round_to_steps(double slope, std::int32_t most, std::span<const float> x, std::span<std::int32_t> symbols) noexcept;

// Σ |x_i|·l_i of such symbols.
double sum_of_levels(std::span<const float> x, std::span<const std::int32_t> symbols) noexcept;

// sum[i] += step × what such a symbol stands for.
void accumulate_signed(double step, std::span<const std::int32_t> symbols, std::span<double> sum) noexcept;

// Words of 64 bits that `subset` needs as scratch.
std::size_t subset_scratch(std::size_t n) noexcept;

// chosen (shape [k], k ≤ n) = k different numbers below n in rising order, every subset with equal chance, from the stream
// with this key. scratch has subset_scratch(n) words.
void subset(std::uint64_t key, std::size_t n, std::span<std::uint64_t> scratch, std::span<std::uint32_t> chosen) noexcept;

// Words that `largest` needs as scratch for k of n.
std::size_t largest_scratch(std::size_t n, std::size_t k) noexcept;

// chosen (shape [k], k ≤ x.size()) = the positions of the k largest magnitudes in rising order; of equal magnitudes the
// first. x is finite; scratch has largest_scratch(x.size(), k) words.
void largest(std::span<const float> x, std::span<std::uint32_t> scratch, std::span<std::uint32_t> chosen) noexcept;

}  // namespace fewbits::kernels
