#pragma once

#include <cstddef>
#include <vector>

#include "fewbits/privacy/random_source.h"

namespace fewbits::secure {

// Neighbours of each of `clients` nodes, by index, in rising order: all others where they are at most `neighbours`; else the
// nodes in an order drawn at random stand in a circle, and each has the neighbours/2 next on either side (Bell et al. 2020).
std::vector<std::vector<std::size_t>> drawn_graph(std::size_t clients, std::size_t neighbours, privacy::RandomSource& random);

}  // namespace fewbits::secure
