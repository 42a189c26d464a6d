#pragma once

#include <span>
#include <vector>

#include "fewbits/layout.h"
#include "kernels/random.h"
#include "workspace.h"

// Low-rank factors of the matrices among a rule's tensors: what the stages that send factors share.
namespace fewbits {

struct StageContext;

// A tensor as a matrix, first axis × the others.
struct MatrixPart {
  std::size_t offset = 0;   // of its first coordinate
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::size_t rank = 0;     // of its factors, at most the smaller side

  std::size_t values() const noexcept { return rows * columns; }
  std::size_t factor_values() const noexcept { return rank * (rows + columns); }
};

// The tensors of two axes or more that are larger than their factors of this rank.
std::vector<MatrixPart> matrices_of(std::span<const Tensor> tensors, std::size_t rank);

struct Factors {
  std::span<const float> values;      // shape [rank, rows + columns]: left_0, right_0, left_1, …; strongest first
  std::span<const double> energies;   // what each pair takes off that of the matrix, falling
};

// One encoding's search, by the encoder alone: whoever decodes multiplies what factors there are. Starts where it ended the last
// time where the stage has a memory, else from random signs.
class FactorSearch {
 public:
  static std::size_t workspace_bytes(std::span<const MatrixPart> parts) noexcept;

  FactorSearch(const StageContext& context, std::span<const MatrixPart> parts, std::size_t iterations);

  // For each part in order. `matrix` holds its coordinates; the result is in the workspace.
  Factors find(const MatrixPart& part, std::span<const float> matrix) noexcept;

 private:
  Workspace& workspace_;
  RandomReader random_;
  std::span<float> memory_;   // of the parts to come: right factors
  std::size_t iterations_;
};

}  // namespace fewbits
