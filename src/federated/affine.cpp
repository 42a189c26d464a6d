#include "federated/affine.h"

#include <algorithm>

#include "federated/blas.h"

namespace fewbits::federated {
namespace {

Eigen::Index index(std::size_t value) { return static_cast<Eigen::Index>(value); }

// sums (shape [width]) of the rows of values (shape [rows, width]).
void sum_rows(const float* values, std::size_t rows, std::span<float> sums) {
  std::fill(sums.begin(), sums.end(), 0.0f);
  for (std::size_t row = 0; row < rows; ++row, values += sums.size()) {
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += values[i];
  }
}

}  // namespace

void affine(const float* x, std::size_t rows, std::span<const float> weight, std::span<const float> bias, float* y) {
  const Eigen::Index n = index(rows), out = index(bias.size()), in = index(weight.size()) / out;
  {
    const auto lock = product_lock();
    Matrix(y, n, out).noalias() = ConstMatrix(x, n, in) * ConstMatrix(weight.data(), in, out);
  }
  for (std::size_t row = 0; row < rows; ++row, y += bias.size()) {
    for (std::size_t i = 0; i < bias.size(); ++i) y[i] += bias[i];
  }
}

void affine_gradient(const float* x, std::size_t rows, std::span<const float> weight, const float* delta,
                     std::span<float> weight_gradient, std::span<float> bias_gradient, float* x_gradient) {
  const Eigen::Index n = index(rows), out = index(bias_gradient.size()), in = index(weight.size()) / out;
  {
    const auto lock = product_lock();
    const ConstMatrix d(delta, n, out);
    Matrix(weight_gradient.data(), in, out).noalias() = ConstMatrix(x, n, in).transpose() * d;
    if (x_gradient != nullptr) {
      Matrix(x_gradient, n, in).noalias() = d * ConstMatrix(weight.data(), in, out).transpose();
    }
  }
  sum_rows(delta, rows, bias_gradient);
}

}  // namespace fewbits::federated
