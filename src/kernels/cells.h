#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/rans.h"

// The entropy model of dithered lattice points: how probable each point of a grid is, given where the dither has put the
// grid. Integers only, from tables of a few distribution functions (docs/frame-format.md).
namespace fewbits {

inline constexpr std::int64_t kOneStep = std::int64_t{1} << kStepBits;

// Shapes of the values' distribution: the normal one, and scale mixtures of it with ever heavier tails, all of variance 1.
inline constexpr int kShapes = 7;
// F(z) at z = (i − kCdfHalf)/kCdfPerUnit in units of 2^-20, for i = 0 … 2·kCdfHalf; 0 at the first, 2^20 at the last.
const std::uint32_t* distribution(int shape) noexcept;

// Its inverse, about: z·kCdfPerUnit where F(z) is in the middle of the i-th of 2^kInverseBits equal parts.
const float* quantiles(int shape) noexcept;

// 256·log2(1 + i/256), by counting 1/256ths of an octave.
inline constexpr std::array<std::uint32_t, 257> kLengths = [] {
  std::array<std::uint32_t, 257> lengths{};
  const double root = 0x1.00b1afa5abcbfp+0;   // 2^(1/256)
  double power = 1;
  std::uint32_t count = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const double value = 1 + static_cast<double>(i) / 256;
    while (count < 256 && power * root <= value) {
      power *= root;
      ++count;
    }
    lengths[i] = count;
  }
  lengths[256] = 256;
  return lengths;
}();

// 256·(−log2(probability·2^-20)): code lengths for choosing steps.
constexpr std::uint32_t code_length(std::uint32_t probability) noexcept {
  const std::uint32_t value = std::max(probability, 1u);
  const unsigned top = static_cast<unsigned>(std::bit_width(value)) - 1;
  const std::uint32_t mantissa = top >= 8 ? value >> (top - 8) : value << (8 - top);
  return (kCdfBits - top) * 256 - kLengths[mantissa - 256];
}

// Probabilities of the points {spacing·m − offset} for all integers m, of values with standard deviation `sigma` steps.
class CellModel {
 public:
  CellModel() = default;

  // spacing: steps from point to point, 1 or 2; sigma > 0.
  CellModel(int shape, unsigned spacing, double sigma) noexcept
      : cdf_(distribution(shape)), quantiles_(quantiles(shape)), spacing_bits_(kStepBits + (spacing == 2 ? 1 : 0)) {
    const double points = sigma / spacing;   // a standard deviation, in points
    while (points > 4.0 * static_cast<double>(std::uint64_t{1} << raw_bits_) && raw_bits_ < 24) ++raw_bits_;
    const double bins = points / static_cast<double>(std::uint64_t{1} << raw_bits_);
    window_ = static_cast<std::int32_t>(std::min(kReach * bins, 24.0)) + 2;
    const double slope = kCdfPerUnit * 0x1p20 / sigma;
    slope_ = static_cast<std::int64_t>(std::min(slope, 0x1p37) + 0.5);
    entries_ = static_cast<double>(slope_) * 0x1p-44;
    bins_ = slope_ == 0 ? 0 : 1 / (entries_ * static_cast<double>(std::int64_t{1} << (spacing_bits_ + raw_bits_)));
  }

  // Nearest point to 0 on a grid whose point m = 0 is at −offset: its m. The distance of that point is in (−1/2, 1/2].
  std::int64_t center(std::int64_t offset) const noexcept {
    return (offset + (std::int64_t{1} << (spacing_bits_ - 1))) >> spacing_bits_;
  }

  // Point m, which is `m − center` points from the one nearest to 0.
  void write(RansWriter& rans, unsigned lane, std::int64_t offset, std::int64_t m) const noexcept {
    const std::int64_t middle = center(offset);
    const std::int64_t place = (middle << spacing_bits_) - offset;
    const std::int64_t shifted = m - middle + half_bin();
    const std::int64_t bin = shifted >> raw_bits_;
    write_raw(rans, lane, static_cast<std::uint32_t>(shifted - (bin << raw_bits_)), raw_bits_);
    const std::int64_t near = std::clamp<std::int64_t>(bin, -window_, window_);
    if (near == window_ || near == -window_) write_excess(rans, lane, static_cast<std::uint32_t>(near < 0 ? near - bin : bin - near));
    const std::uint32_t start = cumulative(place, static_cast<std::int32_t>(near));
    rans.put(lane, {start, cumulative(place, static_cast<std::int32_t>(near) + 1) - start});
  }

  std::int64_t read(RansReader& rans, unsigned lane, std::int64_t offset) const noexcept {
    const std::int64_t middle = center(offset);
    const std::int64_t place = (middle << spacing_bits_) - offset;
    const std::uint32_t slot = rans.slot(lane);
    // The bin that the slot's quantile lies in is the right one nearly always; otherwise its neighbours are.
    const double low_edge = static_cast<double>(place - (half_bin() << spacing_bits_) - (std::int64_t{1} << (spacing_bits_ - 1)));
    const double quantile = static_cast<double>(quantiles_[slot >> (kRansBits - kInverseBits)]);
    const double guess = (quantile - low_edge * entries_) * bins_;
    auto near = static_cast<std::int32_t>(std::clamp(guess + window_, 0.0, 2.0 * window_)) - window_;
    std::uint32_t start = cumulative(place, near);
    std::uint32_t end = cumulative(place, near + 1);
    while (slot >= end) {
      start = end;
      end = cumulative(place, ++near + 1);
    }
    while (slot < start) {
      end = start;
      start = cumulative(place, --near);
    }
    rans.advance(lane, {start, end - start});
    std::int64_t bin = near;
    if (near == window_) bin += read_excess(rans, lane);
    if (near == -window_) bin -= read_excess(rans, lane);
    return middle - half_bin() + (bin << raw_bits_) + read_raw(rans, lane, raw_bits_);
  }

  // Bits of a point that is `steps` from 0, about; what is out of reach of the table counts as escapes.
  double length(double steps) const noexcept {
    const double entry = steps * table_entries();
    const double half = half_bin_entries();
    const std::uint32_t share = cdf_[nearest_entry(entry + half)] - cdf_[nearest_entry(entry - half)];
    const double near = code_length(share + kLeastBinShare) * (1 / 256.0) + raw_bits_;
    const double beyond = steps * bins_to_step() - window_;
    return beyond < 1 ? near : near + 2 * static_cast<int>(std::bit_width(static_cast<std::uint64_t>(std::min(beyond, 0x1p40)))) + 1;
  }

  // Σ length(x_i·steps + noise_i), x_i·steps at most 2^30; scratch (shape that of x).
  double lengths(double steps, std::span<const float> x, std::span<const float> noise,
                 std::span<std::uint32_t> scratch) const noexcept {
    std::size_t left = 0;
    const targets::CellLengths model{cdf_, kLengths.data(), steps, table_entries(), half_bin_entries(), bins_to_step(),
                                     static_cast<double>(window_)};
    const std::uint64_t sum = targets::chosen().cell_lengths(model, x.data(), noise.data(), x.size(), scratch.data(), &left);
    double total = static_cast<double>(sum) * (1 / 256.0) + static_cast<double>(raw_bits_ * (x.size() - left));
    for (const std::uint32_t i : scratch.first(left))
      total += length(std::min(static_cast<double>(x[i]) * steps, 0x1p30) + static_cast<double>(noise[i]));
    return total;
  }

  // Whether the loops over lanes can be used: the points' numbers have no raw bits. What they need to know; with a slope and a
  // window of 0 no point has an interval of its own.
  bool in_lanes() const noexcept { return raw_bits_ == 0 && slope_ >> 31 == 0; }
  std::int32_t slope() const noexcept { return in_lanes() ? static_cast<std::int32_t>(slope_) : 0; }
  std::uint32_t guide() const noexcept {
    if (!in_lanes()) return 0;
    const auto points = std::bit_cast<std::uint32_t>(static_cast<float>(bins_));
    return (points & ~targets::kGuideWindow) | static_cast<std::uint32_t>(window_);
  }

  // The most bits that `write` takes.
  static constexpr std::size_t kMaxBits = 15 + 2 * 31 + 24;

 private:
  static constexpr double kReach = 4.5;   // standard deviations within which points have symbols of their own

  // Bins to a step, entries of the table to a step and to half a bin.
  double bins_to_step() const noexcept { return 0x1p24 / static_cast<double>(std::int64_t{1} << (spacing_bits_ + raw_bits_)); }
  double table_entries() const noexcept { return static_cast<double>(slope_) * 0x1p-20; }
  double half_bin_entries() const noexcept {
    const double half = static_cast<double>(slope_) * (0x1p-44 * static_cast<double>(std::int64_t{1} << (spacing_bits_ - 1 + raw_bits_)));
    return std::min(half, 2.0 * kCdfHalf);
  }

  std::int64_t half_bin() const noexcept { return (std::int64_t{1} << raw_bits_) >> 1; }

  static std::size_t nearest_entry(double entry) noexcept {
    return static_cast<std::size_t>(static_cast<int>(std::clamp(entry, -1.0 * kCdfHalf, 1.0 * kCdfHalf) + (kCdfHalf + 0.5)));
  }

  std::size_t entry(std::int64_t place) const noexcept {
    const auto at = static_cast<std::int64_t>((static_cast<__int128>(place) * slope_ + (std::int64_t{1} << 43)) >> 44);
    return static_cast<std::size_t>(std::clamp<std::int64_t>(at, -kCdfHalf, kCdfHalf) + kCdfHalf);
  }

  // Where the interval of bin `near` begins; −window … window + 1.
  std::uint32_t cumulative(std::int64_t place, std::int32_t near) const noexcept {
    if (near <= -window_) return 0;
    if (near > window_) return kRansTotal;
    const std::int64_t first = (static_cast<std::int64_t>(near) << raw_bits_) - half_bin();
    const std::int64_t edge = place + (first << spacing_bits_) - (std::int64_t{1} << (spacing_bits_ - 1));
    const auto bins = static_cast<std::uint32_t>(2 * window_ + 1);
    const std::uint64_t below = static_cast<std::uint64_t>(cdf_[entry(edge)]) * (kRansTotal - bins) >> kCdfBits;
    return static_cast<std::uint32_t>(near + window_) + static_cast<std::uint32_t>(below);
  }

  // Exp-Golomb: value + 1 in binary after as many zeros as it has digits less one.
  static void write_excess(RansWriter& rans, unsigned lane, std::uint32_t value) noexcept {
    const unsigned digits = static_cast<unsigned>(std::bit_width(static_cast<std::uint64_t>(value) + 1));
    write_raw(rans, lane, value + 1 - (1u << (digits - 1)), digits - 1);
    rans.put_bits(lane, 1, 1);
    for (unsigned i = 1; i < digits; ++i) rans.put_bits(lane, 0, 1);
  }
  static std::int64_t read_excess(RansReader& rans, unsigned lane) noexcept {
    unsigned digits = 1;
    while (rans.bits(lane, 1) == 0) {
      if (++digits > 31) {
        rans.fail();
        return 0;
      }
    }
    return (std::int64_t{1} << (digits - 1)) + read_raw(rans, lane, digits - 1) - 1;
  }

  // High part last, so that it is read first.
  static void write_raw(RansWriter& rans, unsigned lane, std::uint32_t value, unsigned count) noexcept {
    for (; count > kRansBits; count -= kRansBits, value >>= kRansBits) rans.put_bits(lane, value & (kRansTotal - 1), kRansBits);
    if (count != 0) rans.put_bits(lane, value, count);
  }
  static std::int64_t read_raw(RansReader& rans, unsigned lane, unsigned count) noexcept {
    std::int64_t value = 0;
    if (const unsigned top = count % kRansBits; top != 0) value = rans.bits(lane, top);
    for (count -= count % kRansBits; count != 0; count -= kRansBits) value = value << kRansBits | rans.bits(lane, kRansBits);
    return value;
  }

  const std::uint32_t* cdf_ = nullptr;
  const float* quantiles_ = nullptr;
  std::int64_t slope_ = 0;       // entries of the table to a step, in 2^-20
  double entries_ = 0;           // the same to 2^-24 step
  double bins_ = 0;              // bins to an entry
  unsigned spacing_bits_ = kStepBits;
  unsigned raw_bits_ = 0;        // low bits of a point's number that are sent as they are
  std::int32_t window_ = 1;      // bins on either side that have symbols; the outermost are followed by the excess
};

}  // namespace fewbits
