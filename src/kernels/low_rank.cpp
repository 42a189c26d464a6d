#include "kernels/low_rank.h"

#include <algorithm>
#include <cmath>

#include "kernels/low_rank_reference.h"
#include "kernels/targets.h"

namespace fewbits::kernels {
namespace {

using reference::dot;

float largest_magnitude(std::span<const float> x) noexcept { return targets::chosen().largest_magnitude(x.data(), x.size()); }

double energy(std::span<const float> x, double factor) noexcept {
  return targets::chosen().energy(x.data(), x.size(), factor);
}

// Brings the largest magnitude to [1, 2): products keep clear of the ends of float32.
void normalize(std::span<float> x) noexcept {
  const float most = largest_magnitude(x);
  if (most == 0) return;
  const double factor = std::ldexp(1.0, -std::ilogb(most));
  for (float& value : x) value = static_cast<float>(static_cast<double>(value) * factor);
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
  const targets::Kernels& kernels = targets::chosen();
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
    kernels.low_rank_times(matrix.data(), rows, columns, rank, right.data(), left.data());
    orthonormalize(rank, rows, left);
    kernels.low_rank_transposed(matrix.data(), rows, columns, rank, factor, left.data(), right.data());
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
