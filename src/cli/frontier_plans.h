#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "fewbits/layout.h"

namespace fewbits::cli {

// Plans that differ in their rate alone: a curve in the picture of a frontier.
struct PlanFamily {
  std::string name;   // for tables and pictures
  std::vector<std::string> plans;
  bool matrices = false;   // says nothing of its own where no tensor has rows and columns
  bool profile = false;    // needs the scales that a server has learned
};

// What `fewbits measure --frontier` measures: the codecs of the field and of this library, from 0.003 to 8 bits a
// coordinate. Stages that do not exist make their plans be skipped, so the list may be ahead of the registry.
// Shares of coordinates are chosen for these rates, with the frame's header counted.
std::vector<PlanFamily> frontier_plans(std::size_t coordinates);

// Bits a coordinate.
std::span<const double> frontier_rates();

// Whether some tensor has rows and columns: first axis × the rest.
bool has_matrices(const Layout& layout);

}  // namespace fewbits::cli
