#pragma once

#include <cstddef>
#include <span>

namespace fewbits::federated {

// y = x W + b; x has shape [rows, in], weight [in, out], bias [out], y [rows, out].
void affine(const float* x, std::size_t rows, std::span<const float> weight, std::span<const float> bias, float* y);

// Of a loss whose derivative by y is `delta` (shape [rows, out]): its derivatives by weight and bias, and by x unless
// x_gradient is null. They are written over what is there.
void affine_gradient(const float* x, std::size_t rows, std::span<const float> weight, const float* delta,
                     std::span<float> weight_gradient, std::span<float> bias_gradient, float* x_gradient);

}  // namespace fewbits::federated
