#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/coder_tables.h"
#include "kernels/kernels.h"

// The loops that are compiled once for each kind of machine. All targets compute the same bits.
namespace fewbits::targets {

// reference::quantize_uniform's figures of a range: two factors that bring it near 1, its lower end then, steps a unit, and
// the last step.
struct UniformSteps {
  float first, second, low, slope, most;
};

// Packed symbols of a frame: each stands for base + slope × symbol.
struct PackedUniform {
  const std::byte* bytes;
  double base, slope;
};
inline constexpr std::size_t kPackedFrames = 8;   // that accumulate_packed takes at once

// Raw pointers: what a target's file instantiates of the standard library would be of its machine, and the linker could
// choose it for all (tests/kernels/targets_test.py).
struct Kernels {
  std::string_view name;

  // XXH3_64bits_withSeed.
  std::uint64_t (*hash64)(const void* data, std::size_t size, std::uint64_t seed);

  // RandomStream: words of whole blocks of 2048 from block `block` on, `steps` rows of 16 after skipping `skip` rows.
  void (*random_rows)(std::uint64_t key, std::uint64_t block, std::size_t skip, std::size_t steps, std::uint32_t* words);

  bool (*all_finite)(const float* x, std::size_t n);
  kernels::Range (*min_max)(const float* x, std::size_t n);

  // With a factor on the results.
  void (*walsh_hadamard)(float* x, std::size_t n, float factor);
  void (*walsh_hadamard_double)(double* x, std::size_t n, double factor);
  void (*flip_signs)(std::uint64_t key, float* x, std::size_t n);
  void (*flip_signs_double)(std::uint64_t key, double* x, std::size_t n);
  void (*flip_signs_add)(std::uint64_t key, const double* x, double* sum, std::size_t n);
  void (*rotate)(std::uint64_t key, const float* x, float* y, std::size_t n, float factor);
  void (*scale)(float* x, std::size_t n, float factor);
  void (*scale_double)(double* x, std::size_t n, double factor);

  void (*quantize_uniform)(std::uint64_t key, std::uint64_t first, const UniformSteps& steps, const float* x,
                           std::size_t n, std::int32_t* symbols);
  void (*accumulate_uniform)(double base, double slope, const std::int32_t* symbols, std::size_t n, double* sum);

  // Whole blocks, as of pack_blocks, of symbols of `width` bits, 1, 2, 4 or 8. Quantizing takes the stream from its start, and
  // the second factor of the steps is 1. Adding takes the frames in their order, at most kPackedFrames.
  void (*quantize_packed)(std::uint64_t key, const UniformSteps& steps, unsigned width, const float* x,
                          std::size_t blocks, std::byte* bytes);
  void (*accumulate_packed)(unsigned width, const PackedUniform* frames, std::size_t count, std::size_t blocks,
                            double* sum);

  void (*accumulate_points)(const double* points, const std::int32_t* symbols, std::size_t n, double* sum);
  void (*accumulate_signed)(double step, const std::int32_t* symbols, std::size_t n, double* sum);

  // Whole blocks, of 64 bytes each, of a plane of `width` bits that starts at bit `shift` of the symbols. Unpacking, the
  // plane at bit 0 comes first: it writes symbols, and others add their bits.
  void (*pack_blocks)(const std::int32_t* symbols, std::size_t blocks, unsigned width, unsigned shift, std::byte* bytes);
  void (*unpack_blocks)(const std::byte* bytes, std::size_t blocks, unsigned width, unsigned shift,
                        std::int32_t* symbols);

  double (*sum_of_squares)(const float* x, std::size_t n);
  double (*sum_of_weighted_squares)(const float* x, const double* weights, std::size_t n);
  void (*add_squares)(const float* x, double factor, std::size_t n, double* sums);
  double (*sum_of_magnitudes)(const float* x, std::size_t n);
  double (*sum_of_products)(const float* x, const std::int32_t* symbols, std::size_t n, const double* points);
  double (*sum_of_levels)(const float* x, const std::int32_t* symbols, std::size_t n);
  void (*count_thresholds)(const float* x, std::size_t n, const float* thresholds, std::size_t size,
                           std::int32_t* symbols);
  void (*round_magnitudes)(std::uint64_t key, std::size_t bucket, const double* slopes, const float* x, std::size_t n,
                           std::int32_t* symbols);
  void (*round_to_steps)(double slope, std::int32_t most, const float* x, std::size_t n, std::int32_t* symbols);

  // Whole arrays of half floats and bfloats (reference::to_half …): false where one is not finite. sum += weight × values.
  bool (*to_halves)(const float* x, std::size_t n, std::int32_t* symbols);
  bool (*to_bfloats)(const float* x, std::size_t n, std::int32_t* symbols);
  void (*accumulate_halves)(double weight, const std::int32_t* symbols, std::size_t n, double* sum);
  void (*accumulate_bfloats)(double weight, const std::int32_t* symbols, std::size_t n, double* sum);
  void (*accumulate_floats)(double weight, const std::int32_t* symbols, std::size_t n, double* sum);
  std::uint32_t (*largest_pattern)(const std::int32_t* symbols, std::size_t n, std::uint32_t mask);

  void (*count_symbols)(const std::int32_t* symbols, std::size_t n, std::uint32_t* counts);

  // kept = first + i, in order, for the values i whose word is at most limits[class − least]; none of the class INT16_MIN.
  // `most` is the largest limit. Their number; kept has room for n.
  std::size_t (*keep)(const std::uint32_t* words, const std::int16_t* classes, const std::uint32_t* limits, int least,
                      std::uint32_t most, std::size_t n, std::uint32_t first, std::uint32_t* kept);

  // kernels::largest; false, with nothing chosen, where ties or clusters leave too much above the guess of a threshold, or
  // k is over a quarter of n.
  std::size_t (*largest_scratch)(std::size_t n, std::size_t k);
  bool (*largest)(const float* x, std::size_t n, std::size_t k, std::uint32_t* scratch, std::uint32_t* chosen);

  // Of kernels/low_rank_reference.h.
  float (*largest_magnitude)(const float* x, std::size_t n);
  double (*energy)(const float* x, std::size_t n, double factor);
  void (*low_rank_products)(const float* matrix, std::size_t rows, std::size_t columns, std::size_t rank, double factor,
                            const float* right, double* left, float* product);
  void (*low_rank_transposed)(const float* matrix, std::size_t rows, std::size_t columns, std::size_t rank, double factor,
                              const double* left, float* right);

  // Symbols below 16 of a range coder with 32 lanes, symbol i in lane i mod 32, with borders[s] … borders[s + 1] the interval
  // of symbol s. Both do whole rounds of lanes while there is room to work in, or words, and leave the others to the caller:
  // rans_put goes from the last symbol, n a multiple of 32, and returns how many are left; rans_take goes from the first,
  // adds to the 16 counts and returns how many it has read.
  std::size_t (*rans_put)(const std::uint16_t* borders, const std::int32_t* symbols, std::size_t n, std::uint32_t* states,
                          const std::uint16_t* room, std::uint16_t** end);
  std::size_t (*rans_take)(const std::uint16_t* borders, std::int32_t* symbols, std::size_t n, std::uint32_t* states,
                           const std::uint8_t** from, const std::uint8_t* end, std::uint32_t* counts);

  // The same for intervals, `lanes` 8, 16 or 32 (of other numbers none): from the last of n on, a multiple of the lanes.
  std::size_t (*rans_put_intervals)(const std::uint32_t* starts, const std::uint32_t* frequencies, std::size_t n, unsigned lanes,
                                    std::uint32_t* states, const std::uint16_t* room, std::uint16_t** end);

  // The intervals of dithered points (CellModel), from the last on in groups of 16 up to one that has a point without an
  // interval of its own: how many are left. No classes: all are of the least.
  std::size_t (*cell_intervals)(const CellTables& tables, const std::int16_t* classes, const std::uint32_t* words,
                                const std::int32_t* points, std::size_t n, std::uint32_t* starts, std::uint32_t* frequencies);
  // RansReader::take_cells, of values first … n − 1.
  std::size_t (*rans_take_cells)(const CellTables& tables, const std::int16_t* classes, const std::uint32_t* words,
                                 std::size_t first, std::size_t n, unsigned lanes, std::uint32_t* codes, std::int32_t* points,
                                 std::uint32_t* states, const std::uint8_t** from, const std::uint8_t* end);

  // Σ of the code lengths, in 1/256 bit, of values x·steps + noise steps from 0; without those of `left` (room for n), which
  // have no interval of their own or no group of 16.
  std::uint64_t (*cell_lengths)(const CellLengths& model, const float* x, const float* noise, std::size_t n,
                                std::uint32_t* left, std::size_t* left_count);

  // Of values and words, in groups of 16: places = ±x·steps, in 2^-24, to nearest + dither, the sign that of the word's lowest
  // bit, the dither what `word_shift` leaves of it; and sum += weight × ±(points − dither)·factors of such points. `steps` and
  // `factors` by the class less `least`; no classes: all are of the least. How many were done: places up to a group with one
  // over 2^51.
  std::size_t (*dither_places)(const double* steps, const std::int16_t* classes, int least, unsigned word_shift,
                               const std::uint32_t* words, const float* x, std::size_t n, std::int64_t* places);
  std::size_t (*dither_add)(const double* factors, const std::int16_t* classes, int least, unsigned word_shift,
                            const std::uint32_t* words, const std::int32_t* points, std::size_t n, double weight, double* sum);

  // Of kernels/trellis.h.
  void (*trellis_search)(unsigned states, unsigned streams, const std::int64_t* places, const std::uint16_t* weights,
                         std::size_t n, std::uint8_t* scratch, std::int32_t* points);
};

// Those that this machine can run, the best one last.
std::span<const Kernels* const> available() noexcept;

// The best one; that of the environment's FEWBITS_TARGET (portable, neon, avx2, avx512) where it is set and available.
const Kernels& chosen() noexcept;

// For tests: chosen() from now on. Not while other threads work.
void choose(const Kernels& kernels) noexcept;

}  // namespace fewbits::targets
