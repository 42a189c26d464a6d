#include "factors.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/low_rank.h"
#include "stage.h"

namespace fewbits {

std::vector<MatrixPart> matrices_of(std::span<const Tensor> tensors, std::size_t rank) {
  std::vector<MatrixPart> parts;
  std::size_t offset = 0;
  for (const Tensor& tensor : tensors) {
    const std::size_t elements = tensor.elements();
    if (tensor.shape.size() >= 2 && elements != 0) {
      MatrixPart part{offset, tensor.shape.front(), elements / tensor.shape.front(), rank};
      part.rank = std::min({rank, part.rows, part.columns});
      if (part.factor_values() < part.values()) parts.push_back(part);
    }
    offset += elements;
  }
  return parts;
}

std::size_t FactorSearch::workspace_bytes(std::span<const MatrixPart> parts) noexcept {
  std::size_t most = 0;
  for (const MatrixPart& part : parts)
    most = std::max(most, Workspace::bytes_for<float>(part.rank * part.columns) +
                              Workspace::bytes_for<double>(part.rank * part.rows) +
                              2 * Workspace::bytes_for<double>(part.rank) + Workspace::bytes_for<std::size_t>(part.rank) +
                              Workspace::bytes_for<float>(part.rank * part.columns) +
                              Workspace::bytes_for<double>(part.rank * part.rank) +
                              Workspace::bytes_for<float>(part.factor_values()));
  return most;
}

FactorSearch::FactorSearch(const StageContext& context, std::span<const MatrixPart> parts, std::size_t iterations)
    : workspace_(*context.workspace), random_(context.key(true, Purpose::kLowRankStart)), iterations_(iterations) {
  if (context.memory == nullptr) return;
  std::size_t size = 0;
  for (const MatrixPart& part : parts) size += part.rank * part.columns;
  if (context.memory->size() != size) context.memory->assign(size, 0.0f);
  memory_ = *context.memory;
}

Factors FactorSearch::find(const MatrixPart& part, std::span<const float> matrix) noexcept {
  const auto [offset, rows, columns, rank] = part;
  const auto values = workspace_.take<float>(part.factor_values());
  const auto sorted = workspace_.take<double>(rank);
  const auto right = workspace_.take<float>(rank * columns);
  const auto left = workspace_.take<double>(rank * rows);
  const auto energies = workspace_.take<double>(rank);
  const auto order = workspace_.take<std::size_t>(rank);
  const auto products = workspace_.take<float>(rank * columns);
  const auto triangle = workspace_.take<double>(rank * rank);

  std::ranges::fill(right, 0.0f);
  const auto memory = memory_.first(memory_.empty() ? 0 : right.size());
  memory_ = memory_.subspan(memory.size());
  std::ranges::copy(memory, right.begin());
  for (std::size_t k = 0; k < rank; ++k) {
    // Nothing is known of this one: there was no frame yet, or a matrix of a lower rank.
    const auto own = right.subspan(k * columns, columns);
    if (std::ranges::any_of(own, [](float value) { return value != 0; })) continue;
    for (float& value : own) value = (random_.next() >> 31) != 0 ? -1.0f : 1.0f;
  }

  const double unit = kernels::low_rank(matrix, rows, columns, rank, iterations_, right, left, energies, products, triangle);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) { return energies[a] != energies[b] ? energies[a] > energies[b] : a < b; });
  for (std::size_t k = 0; k < rank; ++k) {
    const std::size_t from = order[k];
    sorted[k] = energies[from];
    // Only the product of a pair counts. Where both have the same mean square, equal steps of a quantizer do least harm.
    const double size = std::sqrt(energies[from]);
    const double scale = std::sqrt(size * std::sqrt(static_cast<double>(rows) / static_cast<double>(columns)));
    float* out = values.data() + k * (rows + columns);
    for (std::size_t i = 0; i < rows; ++i) *out++ = static_cast<float>(left[from * rows + i] * scale);
    for (std::size_t j = 0; j < columns; ++j)
      *out++ = scale == 0 ? 0.0f : static_cast<float>(static_cast<double>(right[from * columns + j]) * unit / scale);
    if (!memory.empty()) std::ranges::copy(right.subspan(from * columns, columns), memory.begin() + static_cast<std::ptrdiff_t>(k * columns));
  }
  return {values, sorted};
}

}  // namespace fewbits
