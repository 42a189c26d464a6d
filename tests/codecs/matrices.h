#pragma once

#include <cmath>
#include <vector>

#include "tests/engine/support.h"

namespace fewbits::test {

// Orthonormal columns, each a vector of n.
inline std::vector<std::vector<double>> orthonormal(std::size_t count, std::size_t n, std::uint64_t seed) {
  RandomReader random = reader(seed);
  std::vector<std::vector<double>> columns;
  const auto dot = [n](const auto& a, const auto& b) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
  };
  for (std::size_t k = 0; k < count; ++k) {
    std::vector<double> v(n);
    for (double& value : v) value = draw_normal(random);
    for (int pass = 0; pass < 2; ++pass)
      for (const auto& u : columns) {
        const double along = dot(u, v);
        for (std::size_t i = 0; i < n; ++i) v[i] -= along * u[i];
      }
    const double length = std::sqrt(dot(v, v));
    for (double& value : v) value /= length;
    columns.push_back(std::move(v));
  }
  return columns;
}

// A matrix (row-major) with these singular values.
inline std::vector<float> with_singular_values(std::size_t rows, std::size_t columns, const std::vector<double>& values,
                                               std::uint64_t seed) {
  const auto left = orthonormal(values.size(), rows, seed);
  const auto right = orthonormal(values.size(), columns, seed + 1000);
  std::vector<float> matrix(rows * columns);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < values.size(); ++k) sum += values[k] * left[k][i] * right[k][j];
      matrix[i * columns + j] = static_cast<float>(sum);
    }
  return matrix;
}

}  // namespace fewbits::test
