#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fewbits {

// A convolutional code of rate 1/2 that says which points may follow which: in state s only points of parity s mod 2 are
// allowed, and point k leads to the state below (Ungerboeck 1982; Marcellin and Fischer 1990).
struct TrellisCode {
  unsigned states = 1;      // a power of two; 1: no code, every point is allowed
  std::uint32_t parity = 0;  // added to s/2 for s odd: h0 of the code, halved
  std::uint32_t input = 0;   // added to s/2 where the point's half is odd: h1 of the code, halved

  // `half` = floor(point / 2).
  std::uint32_t next(std::uint32_t state, std::int64_t half) const noexcept {
    return (state >> 1) ^ ((state & 1) != 0 ? parity : 0) ^ ((half & 1) != 0 ? input : 0);
  }
};

// The code with 8, 64 or 256 states.
constexpr TrellisCode trellis_code(unsigned states) noexcept {
  if (states == 8) return {8, 013 >> 1, 04 >> 1};
  if (states == 64) return {64, 0103 >> 1, 024 >> 1};
  return {256, 0515 >> 1, 0362 >> 1};
}

// Steps of a block. A block's path ends in its best state, from which the next one goes on. Survivors of a source code
// meet late (hundreds of steps back), so blocks are long: the ends cost less than 0.2 % of the error.
inline constexpr std::size_t kTrellisBlock = 4096;

// How many trellises run side by side for that many values: value i belongs to trellis i mod streams.
inline constexpr std::size_t kMaxTrellisStreams = 32;
std::size_t trellis_streams(std::size_t values) noexcept;

// points[i] = the sequence of points that the code allows from state 0 on with the least Σ weight·(place − point)², by
// Viterbi's algorithm over each stream. places: fixed point with 24 fractional bits, below 2^54 in magnitude; weights:
// 1..256. Costs are integers of 1/256 of a squared step, and of two equal ones that from the lower state is kept.
// `scratch` has trellis_scratch() bytes.
std::size_t trellis_scratch(unsigned states, std::size_t values) noexcept;
void trellis_search(const TrellisCode& code, std::span<const std::int64_t> places, std::span<const std::uint16_t> weights,
                    std::span<std::byte> scratch, std::span<std::int32_t> points) noexcept;

// The same for points that are the indices of levels: 4, 8, … kMaxTrellisLevels of them, which rise. places and levels:
// fixed point with 16 fractional bits, below 2^20 in magnitude. Costs are integers of 2^-14; of two equally near levels
// that a state allows alike the lower is taken.
constexpr std::size_t kMaxTrellisLevels = 32;
void trellis_search(const TrellisCode& code, std::span<const std::int32_t> places,
                    std::span<const std::int32_t> levels, std::span<std::byte> scratch, std::span<std::int32_t> points) noexcept;

}  // namespace fewbits
