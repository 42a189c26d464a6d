#pragma once

#include <cstdint>
#include <span>

#include "fewbits/layout.h"

namespace fewbits::federated {

// Matrices [in, out] and kernels [out, in, height, width] normal with variance 2 / (inputs of one output), as in He et
// al. 2015, arXiv 1502.01852, eq. 10; vectors zero.
void he_initialize(const Layout& layout, std::uint64_t seed, std::span<float> parameters);

}  // namespace fewbits::federated
