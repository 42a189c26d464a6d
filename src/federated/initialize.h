#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fewbits/layout.h"

namespace fewbits::federated {

// Matrices [in, out] and kernels [out, in, height, width] normal with variance 2 / (inputs of one output), as in He et
// al. 2015, arXiv 1502.01852, eq. 10; vectors zero.
void he_initialize(const Layout& layout, std::uint64_t seed, std::span<float> parameters);

// Tensor `t` alone, each from the stream that he_initialize would take: normal, or uniform between -limit and limit.
void normal_initialize(const Layout& layout, std::size_t t, std::uint64_t seed, double deviation,
                       std::span<float> parameters);
void uniform_initialize(const Layout& layout, std::size_t t, std::uint64_t seed, double limit,
                        std::span<float> parameters);

}  // namespace fewbits::federated
