#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>

// The plain loops that define the sums of low_rank: every order of operations is that of all targets.
namespace fewbits::reference {

inline constexpr std::size_t kLanes = 16;
inline constexpr std::size_t kDotBlock = 1024;   // values that are summed in their own type
inline constexpr std::size_t kRowsAtOnce = 4;

// Lane l sums every 16th value from l; then the lanes' halves are added onto one another.
template <class T>
T lane_sum(T (&lanes)[kLanes]) noexcept {
  for (std::size_t half = kLanes / 2; half != 0; half /= 2)
    for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  return lanes[0];
}

template <class T>
T dot_block(const T* a, const T* b, std::size_t n) noexcept {
  T lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += a[i + l] * b[i + l];
  for (std::size_t l = 0; i < n; ++i, ++l) lanes[l] += a[i] * b[i];
  return lane_sum(lanes);
}

template <class T>
double dot(const T* a, const T* b, std::size_t n) noexcept {
  double total = 0;
  for (std::size_t start = 0; start < n; start += kDotBlock)
    total += static_cast<double>(dot_block(a + start, b + start, std::min(kDotBlock, n - start)));
  return total;
}

inline double energy(std::span<const float> x, double factor) noexcept {
  double lanes[kLanes] = {};
  const auto add = [&](std::size_t lane, float entry) {
    const double value = static_cast<double>(entry) * factor;
    lanes[lane] += value * value;
  };
  std::size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes)
    for (std::size_t l = 0; l < kLanes; ++l) add(l, x[i + l]);
  for (std::size_t l = 0; i < x.size(); ++i, ++l) add(l, x[i]);
  return lane_sum(lanes);
}

inline float largest_magnitude(std::span<const float> x) noexcept {
  std::uint32_t most = 0;
  for (const float value : x) most = std::max(most, std::bit_cast<std::uint32_t>(value) & 0x7FFF'FFFFu);
  return std::bit_cast<float>(most);
}

// left[k, i] = ⟨row i of M, right[k]⟩.
inline void low_rank_times(std::span<const float> matrix, std::size_t rows, std::size_t columns, std::size_t rank, std::span<const float> right,
           std::span<double> left) noexcept {
  for (std::size_t k = 0; k < rank; ++k)
    for (std::size_t i = 0; i < rows; ++i)
      left[k * rows + i] = dot(matrix.data() + i * columns, right.data() + k * columns, columns);
}

// right[k, j] = Σ_i left[k, i]·factor·M[i, j], four rows at a time, those left over one by one.
inline void low_rank_transposed(std::span<const float> matrix, std::size_t rows, std::size_t columns, std::size_t rank, double factor,
                                std::span<const double> left, std::span<float> right) noexcept {
  std::ranges::fill(right, 0.0f);
  for (std::size_t k = 0; k < rank; ++k) {
    const auto weight = [&](std::size_t i) { return static_cast<float>(left[k * rows + i] * factor); };
    for (std::size_t j = 0; j < columns; ++j) {
      const auto m = [&](std::size_t i) { return matrix[i * columns + j]; };
      float& out = right[k * columns + j];
      std::size_t i = 0;
      for (; i + kRowsAtOnce <= rows; i += kRowsAtOnce)
        out += (weight(i) * m(i) + weight(i + 1) * m(i + 1)) + (weight(i + 2) * m(i + 2) + weight(i + 3) * m(i + 3));
      for (; i < rows; ++i) out += weight(i) * m(i);
    }
  }
}

}  // namespace fewbits::reference
