#include "kernels/low_rank.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace fewbits::kernels {
namespace {

constexpr std::size_t kLanes = 16;
constexpr std::size_t kDotBlock = 1024;   // values that are summed in float32
constexpr std::size_t kTile = 512;        // columns of a product that stay in cache
constexpr std::size_t kRowsAtOnce = 4;

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

double energy(std::span<const float> x, double factor) noexcept {
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

float largest_magnitude(std::span<const float> x) noexcept {
  std::uint32_t most = 0;
  for (const float value : x) most = std::max(most, std::bit_cast<std::uint32_t>(value) & 0x7FFF'FFFFu);
  return std::bit_cast<float>(most);
}

// Brings the largest magnitude to [1, 2): products keep clear of the ends of float32.
void normalize(std::span<float> x) noexcept {
  const float most = largest_magnitude(x);
  if (most == 0) return;
  const double factor = std::ldexp(1.0, -std::ilogb(most));
  for (float& value : x) value = static_cast<float>(static_cast<double>(value) * factor);
}

// left[k, i] = ⟨row i of M, right[k]⟩; rows in blocks that stay in cache.
void times(std::span<const float> matrix, std::size_t rows, std::size_t columns, std::size_t rank, std::span<const float> right,
           std::span<double> left) noexcept {
  for (std::size_t start = 0; start < rows; start += kRowsAtOnce)
    for (std::size_t k = 0; k < rank; ++k)
      for (std::size_t i = start; i < std::min(start + kRowsAtOnce, rows); ++i)
        left[k * rows + i] = dot(matrix.data() + i * columns, right.data() + k * columns, columns);
}

// right[k, j] = Σ_i left[k, i]·factor·M[i, j], four rows at a time.
void transposed_times(std::span<const float> matrix, std::size_t rows, std::size_t columns, std::size_t rank, double factor,
                      std::span<const double> left, std::span<float> right) noexcept {
  std::ranges::fill(right, 0.0f);
  for (std::size_t first = 0; first < columns; first += kTile) {
    const std::size_t width = std::min(kTile, columns - first);
    for (std::size_t i = 0; i < rows; i += kRowsAtOnce) {
      const std::size_t count = std::min(kRowsAtOnce, rows - i);
      const float* m = matrix.data() + i * columns + first;
      for (std::size_t k = 0; k < rank; ++k) {
        const auto weight = [&](std::size_t row) { return static_cast<float>(left[k * rows + i + row] * factor); };
        float* out = right.data() + k * columns + first;
        if (count == kRowsAtOnce) {
          const float a = weight(0), b = weight(1), c = weight(2), d = weight(3);
          for (std::size_t j = 0; j < width; ++j)
            out[j] += (a * m[j] + b * m[columns + j]) + (c * m[2 * columns + j] + d * m[3 * columns + j]);
          continue;
        }
        for (std::size_t row = 0; row < count; ++row) {
          const float a = weight(row);
          for (std::size_t j = 0; j < width; ++j) out[j] += a * m[row * columns + j];
        }
      }
    }
  }
}

// Modified Gram–Schmidt, each vector against those before it twice, which makes it orthogonal to rounding (Giraud, Langou,
// Rozložník 2005). What is left of a vector that depends on them is the rounding of float32 products: it becomes zero.
void orthonormalize(std::size_t rank, std::size_t rows, std::span<double> left) noexcept {
  constexpr double kRounding = 0x1p-36;   // of squares
  for (std::size_t k = 0; k < rank; ++k) {
    double* v = left.data() + k * rows;
    const double before = dot(v, v, rows);
    for (int pass = 0; pass < 2; ++pass)
      for (std::size_t l = 0; l < k; ++l) {
        const double* u = left.data() + l * rows;
        const double along = dot(u, v, rows);
        for (std::size_t i = 0; i < rows; ++i) v[i] -= along * u[i];
      }
    const double after = dot(v, v, rows);
    const double scale = after > kRounding * before ? 1 / std::sqrt(after) : 0;
    for (std::size_t i = 0; i < rows; ++i) v[i] = scale == 0 ? 0 : v[i] * scale;
  }
}

}  // namespace

LowRank low_rank(std::span<const float> matrix, std::size_t rows, std::size_t columns, std::size_t rank, std::size_t iterations,
                 std::span<float> right, std::span<double> left, std::span<double> energies) noexcept {
  // Only matrices near the ends of float32 have another unit than 1.
  const float most = largest_magnitude(matrix);
  const int exponent = most == 0 ? 0 : std::ilogb(most);
  const int shift = std::clamp(exponent, -32, 32) - exponent;
  const double factor = std::ldexp(1.0, shift);
  for (std::size_t step = 0; step < iterations; ++step) {
    for (std::size_t k = 0; k < rank; ++k) {
      const auto own = right.subspan(k * columns, columns);
      normalize(own);
      if (shift != 0)
        for (float& value : own) value = static_cast<float>(static_cast<double>(value) * factor);
    }
    times(matrix, rows, columns, rank, right, left);
    orthonormalize(rank, rows, left);
    transposed_times(matrix, rows, columns, rank, factor, left, right);
  }
  for (std::size_t k = 0; k < rank; ++k) energies[k] = energy(right.subspan(k * columns, columns), 1);
  return {std::ldexp(1.0, -shift), energy(matrix, factor)};
}

void low_rank_row(std::span<const double> factors, std::size_t rank, std::size_t rows, std::size_t columns, std::size_t row,
                  std::span<double> out) noexcept {
  std::ranges::fill(out, 0.0);
  for (std::size_t k = 0; k < rank; ++k) {
    const double* left = factors.data() + k * (rows + columns);
    const double* right = left + rows;
    const double weight = left[row];
    for (std::size_t j = 0; j < columns; ++j) out[j] += weight * right[j];
  }
}

}  // namespace fewbits::kernels
