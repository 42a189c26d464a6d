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

// sums (shape [Σ energy_count]) += energies of coordinates, which come in rising order.
class EnergyFolder {
 public:
  EnergyFolder(const Layout& layout, std::span<double> sums) noexcept : layout_(layout), sums_(sums) {}

  void add(std::size_t coordinate, double energy) noexcept;
  void finish() noexcept;   // after the last one

 private:
  const Layout& layout_;
  std::span<double> sums_;      // of the tensor at hand, and those after it
  std::size_t tensor_ = 0;      // the next one
  std::size_t start_ = 0;       // coordinates of the one at hand
  std::size_t end_ = 0;
  MatrixShape shape_ = {1, 0};
  std::size_t row_end_ = 0;
  std::size_t row_ = 0;
  double pending_ = 0;          // of this row
};

}  // namespace fewbits
