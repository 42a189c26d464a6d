#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/trellis.h"

// What the range coder and the models of its symbols (rans.h, cells.h) share with the loops of each target: numbers and
// tables alone.
namespace fewbits {

inline constexpr unsigned kRansBits = 15;
inline constexpr std::uint32_t kRansTotal = 1u << kRansBits;
inline constexpr std::uint32_t kRansLow = 1u << 16;   // the least state, and every lane's first
inline constexpr std::size_t kMaxRansLanes = 32;
inline constexpr std::size_t kRansTableSymbols = 16;   // that whole rounds of lanes are coded with at once

// Fixed point: 24 fractional bits of a step.
inline constexpr unsigned kStepBits = 24;

inline constexpr int kCdfPerUnit = 128;           // entries of a distribution function to a standard deviation
inline constexpr int kCdfHalf = 8 * kCdfPerUnit;  // entries on either side of 0
inline constexpr unsigned kCdfBits = 20;
inline constexpr unsigned kInverseBits = 10;      // of a quantile
inline constexpr std::uint32_t kLeastBinShare = 1u << (kCdfBits - kRansBits);   // what every bin has, in units of the function

namespace targets {

// Models of cells, by the class of a value less `least` (CellModel).
struct CellTables {
  const std::uint32_t* cdf = nullptr;
  const float* quantiles = nullptr;
  const std::int32_t* slopes = nullptr;
  const std::uint32_t* guides = nullptr;   // points to 1/kCdfPerUnit of a standard deviation as float32, its last bits the window
  int least = 0;
  unsigned spacing_bits = 0;   // of the distance between points
  unsigned word_shift = 0;     // from a word to its dither
  TrellisCode code;
};

inline constexpr std::uint32_t kGuideWindow = 31;

// What CellModel::length of values of one class depends on.
struct CellLengths {
  const std::uint32_t* cdf;
  const std::uint32_t* logarithms;   // kLengths
  double steps;      // to a unit
  double entries;    // of the function to a step
  double half_bin;   // entries to it
  double bins;       // to a step
  double window;
};

}  // namespace targets
}  // namespace fewbits
