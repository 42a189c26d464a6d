#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "fewbits/profile.h"
#include "scale.h"

namespace fewbits {

struct Profile::State {
  Layout layout;
  std::vector<TensorScales> tensors;                // one a tensor of the layout; none where the profile is flat
  std::vector<std::optional<std::int32_t>> levels;  // one a rule of the plan that the step is for; none without common step
  std::vector<std::byte> bytes;
};

// Sums of squares of one tensor: of each row, then of each column; of a vector the one sum.
std::size_t energy_count(const Tensor& tensor) noexcept;

// sums (shape [Σ energy_count]) += those of `energies` (shape [elements], of the layout's coordinates).
void fold_energies(const Layout& layout, std::span<const double> energies, std::span<double> sums) noexcept;

}  // namespace fewbits
