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

// triangle[l, k] = ⟨left_l, left_k⟩ for l ≤ k.
void multiply_pairs(std::size_t rank, std::size_t rows, std::span<const double> left, std::span<double> triangle) noexcept {
  for (std::size_t k = 0; k < rank; ++k)
    for (std::size_t l = 0; l <= k; ++l) triangle[l * rank + k] = dot(left.data() + l * rows, left.data() + k * rows, rows);
}

// What the triangle of PᵀP says of products: that they kept clear of the ends of float32.
bool in_range(std::size_t rank, std::span<const double> triangle, std::span<const float> products) noexcept {
  for (std::size_t k = 0; k < rank; ++k) {
    const double square = triangle[k * rank + k];
    if (!(square >= 0x1p-64 && square <= 0x1p128)) return false;
  }
  return std::isfinite(energy(products, 1));
}

// The triangle of PᵀP becomes R⁻¹ of P = U R, U orthonormal (Cholesky). False, with a triangle of no use, where sums by R⁻¹ of
// what P's columns made could have much more of float32's rounding in them than sums that U makes.
bool invert(std::size_t rank, std::span<double> triangle, std::span<double> norms) noexcept {
  constexpr double kMostGrowth = 64;   // of errors of 2^-24: of a matrix' energy 2^-36
  const auto at = [&](std::size_t row, std::size_t column) -> double& { return triangle[row * rank + column]; };
  for (std::size_t k = 0; k < rank; ++k) {
    const double square = at(k, k);
    double rest = square;
    for (std::size_t l = k; l-- > 0;) {
      double along = 0;
      for (std::size_t m = 0; m <= l; ++m) along += at(m, l) * at(m, k);
      at(l, k) = along;
      rest -= along * along;
    }
    if (!(rest * kMostGrowth * kMostGrowth > square)) return false;
    const double scale = 1 / std::sqrt(rest);
    norms[k] = std::sqrt(square);
    double growth = norms[k] * scale;
    for (std::size_t l = 0; l < k; ++l) {
      double sum = 0;
      for (std::size_t m = l; m < k; ++m) sum += at(l, m) * at(m, k);
      at(l, k) = -sum * scale;
      growth += std::abs(at(l, k)) * norms[l];
    }
    if (growth > kMostGrowth) return false;
    at(k, k) = scale;
  }
  return true;
}

// to_k = Σ_l triangle[l, k]·from_l, for vectors of n; also in place.
template <class T>
void times_triangle(std::size_t rank, std::span<const double> triangle, const T* from, std::size_t n, T* to) noexcept {
  constexpr std::size_t kBlock = 256;
  double sums[kBlock];
  for (std::size_t k = rank; k-- > 0;)
    for (std::size_t start = 0; start < n; start += kBlock) {
      const std::size_t count = std::min(kBlock, n - start);
      const double own = triangle[k * rank + k];
      for (std::size_t i = 0; i < count; ++i) sums[i] = own * static_cast<double>(from[k * n + start + i]);
      for (std::size_t l = 0; l < k; ++l) {
        const double by = triangle[l * rank + k];
        for (std::size_t i = 0; i < count; ++i) sums[i] += by * static_cast<double>(from[l * n + start + i]);
      }
      for (std::size_t i = 0; i < count; ++i) to[k * n + start + i] = static_cast<T>(sums[i]);
    }
}

}  // namespace

double low_rank(std::span<const float> matrix, std::size_t rows, std::size_t columns, std::size_t rank, std::size_t iterations,
                std::span<float> right, std::span<double> left, std::span<double> energies, std::span<float> products,
                std::span<double> triangle) noexcept {
  const targets::Kernels& kernels = targets::chosen();
  int shift = 0;   // of the matrix' exponents. Only those near the ends of float32 have one
  const auto multiply = [&] {
    const double factor = std::ldexp(1.0, shift);
    if (shift != 0)
      for (float& value : right) value = static_cast<float>(static_cast<double>(value) * factor);
    kernels.low_rank_products(matrix.data(), rows, columns, rank, factor, right.data(), left.data(), products.data());
    multiply_pairs(rank, rows, left, triangle);
    return in_range(rank, triangle, products);
  };
  for (std::size_t step = 0; step < iterations; ++step) {
    for (std::size_t k = 0; k < rank; ++k) normalize(right.subspan(k * columns, columns));
    bool exact = multiply();
    if (!exact && shift == 0) {
      const float most = largest_magnitude(matrix);
      const int exponent = most == 0 ? 0 : std::ilogb(most);
      shift = std::clamp(exponent, -32, 32) - exponent;
      if (shift != 0) exact = multiply();
    }
    // Mᵀ U = (Mᵀ P) R⁻¹ takes no other look at the matrix.
    if (exact && invert(rank, triangle, energies)) {
      times_triangle<double>(rank, triangle, left.data(), rows, left.data());
      times_triangle(rank, triangle, products.data(), columns, right.data());
    } else {
      orthonormalize(rank, rows, left);
      kernels.low_rank_transposed(matrix.data(), rows, columns, rank, std::ldexp(1.0, shift), left.data(), right.data());
    }
  }
  const double unit = std::ldexp(1.0, -shift);
  for (std::size_t k = 0; k < rank; ++k) energies[k] = energy(right.subspan(k * columns, columns), unit);
  return unit;
}

double low_rank_energy(std::span<const float> matrix) noexcept { return energy(matrix, 1); }

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
