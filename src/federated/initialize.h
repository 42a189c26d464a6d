#pragma once

#include <cstdint>
#include <span>

#include "fewbits/layout.h"

namespace fewbits::federated {

// Matrices normal with variance 2 / (rows), the number of inputs (He et al. 2015, arXiv 1502.01852, eq. 10); other
// tensors zero.
void he_initialize(const Layout& layout, std::uint64_t seed, std::span<float> parameters);

}  // namespace fewbits::federated
