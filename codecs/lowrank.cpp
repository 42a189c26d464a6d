#include "codecs/lowrank.h"

#include <algorithm>
#include <cmath>

#include "factors.h"
#include "kernels/low_rank.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "rank", .type = ParameterType::kInteger, .min = 1, .max = 1 << 20,
     .summary = "of each matrix; vectors, and matrices that are not larger than their factors, stay whole"},
    {.name = "iterations", .type = ParameterType::kInteger, .min = 1, .max = 16, .default_value = "1",
     .summary = "steps of the search for the best factors; a structure has none", .rate_wish = true},
};

// Matrices become their factors left_0, right_0, left_1, …, the other tensors stay.
class LowRank final : public Transform {
 public:
  LowRank(const Parameters& parameters, const InputShape& input)
      : inputs_(input.values), outputs_(input.values), iterations_(static_cast<std::size_t>(parameters.integer("iterations"))),
        matrices_(matrices_of(input.tensors, static_cast<std::size_t>(parameters.integer("rank")))) {
    for (const MatrixPart& part : matrices_) {
      outputs_ -= part.values() - part.factor_values();
      columns_ = std::max(columns_, part.columns);
      rank_ = std::max(rank_, part.rank);
    }
  }

  std::size_t outputs() const noexcept override { return outputs_; }
  bool shared() const noexcept override { return false; }
  bool linear() const noexcept override { return matrices_.empty(); }

  double largest(std::span<const std::byte>, double most) const noexcept override {
    return std::max(most, static_cast<double>(rank_) * most * most);
  }

  Traits traits(const InputTraits&) const override {
    if (matrices_.empty()) return {Unbiased::kAlways, 0.0, 1.0};
    return {Unbiased::kNo, std::nullopt, std::nullopt};
  }

  InputTraits output_traits(const InputTraits& input) const override {
    return {outputs_, matrices_.empty() ? input.rotated_spread : std::nullopt};
  }

  std::size_t workspace_bytes() const noexcept override {
    return std::max(FactorSearch::workspace_bytes(matrices_), Workspace::bytes_for<double>(columns_));
  }

  void forward(const StageContext& context, std::span<const float> x, std::span<float> y, ByteWriter&) const override {
    FactorSearch search(context, matrices_, iterations_);
    std::size_t at = 0;   // in y
    const auto copy = [&](std::span<const float> values) {
      std::ranges::copy(values, y.begin() + static_cast<std::ptrdiff_t>(at));
      at += values.size();
    };
    std::size_t done = 0;
    for (const MatrixPart& part : matrices_) {
      const Workspace::Scope scope(*context.workspace);
      copy(x.subspan(done, part.offset - done));
      copy(search.find(part, x.subspan(part.offset, part.values())).values);
      done = part.offset + part.values();
    }
    copy(x.subspan(done));
  }

  void inverse_add(const StageContext& context, std::span<const std::byte>, std::span<double> y,
                   std::span<double> x) const noexcept override {
    const Workspace::Scope scope(*context.workspace);
    const auto products = context.workspace->take<double>(columns_);
    std::size_t done = 0;
    const auto add_whole = [&](std::size_t end) {
      for (std::size_t i = 0; i < end - done; ++i) x[done + i] += y[i];
      y = y.subspan(end - done);
    };
    for (const auto& [offset, rows, columns, rank] : matrices_) {
      add_whole(offset);
      const auto row = products.first(columns);
      for (std::size_t i = 0; i < rows; ++i) {
        kernels::low_rank_row(y, rank, rows, columns, i, row);
        for (std::size_t j = 0; j < columns; ++j) x[offset + i * columns + j] += row[j];
      }
      y = y.subspan(rank * (rows + columns));
      done = offset + rows * columns;
    }
    add_whole(inputs_);
  }

 private:
  std::size_t inputs_;
  std::size_t outputs_;
  std::size_t iterations_;
  std::vector<MatrixPart> matrices_;   // that are sent as factors
  std::size_t columns_ = 0;            // the most of any of them
  std::size_t rank_ = 0;
};

// A tensor seen as a matrix: first axis × all others.
struct Matrix {
  std::size_t offset;   // in the update
  std::size_t rows;
  std::size_t columns;
  std::size_t rank;     // rows where the tensor is trained whole

  bool whole() const noexcept { return rank == rows; }
};

Matrix as_matrix(const Tensor& tensor, std::size_t offset, std::size_t rank) noexcept {
  const std::size_t elements = tensor.elements();
  const std::size_t rows = tensor.shape.size() < 2 || elements == 0 ? elements : tensor.shape.front();
  const std::size_t columns = rows == 0 ? 0 : elements / rows;
  return {offset, rows, columns, tensor.shape.size() < 2 ? rows : std::min(rank, rows)};
}

// Rows of b that one pass over a row of the result adds up: fewer trips of the result through memory.
constexpr std::size_t kRowsAtOnce = 4;

// out += a · b, shapes [rows, inner] · [inner, columns]; row-major, one order of sums on every machine.
void multiply_add(const float* a, const float* b, float* out, std::size_t rows, std::size_t inner, std::size_t columns) {
  for (std::size_t i = 0; i < rows; ++i, a += inner, out += columns) {
    std::size_t k = 0;
    for (; k + kRowsAtOnce <= inner; k += kRowsAtOnce) {
      const float* row = b + k * columns;
      for (std::size_t j = 0; j < columns; ++j)
        out[j] += (a[k] * row[j] + a[k + 1] * row[columns + j]) +
                  (a[k + 2] * row[2 * columns + j] + a[k + 3] * row[3 * columns + j]);
    }
    for (; k < inner; ++k)
      for (std::size_t j = 0; j < columns; ++j) out[j] += a[k] * b[k * columns + j];
  }
}

std::vector<float> transposed(const std::vector<float>& a, std::size_t rows, std::size_t columns) {
  std::vector<float> result(a.size());
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j) result[j * rows + i] = a[i * columns + j];
  return result;
}

// Solves (AᵀA) X = B in place for X (shape [rank, columns]) by Cholesky's decomposition.
void solve_normal(const std::vector<float>& a, std::size_t rows, std::size_t rank, std::size_t columns,
                  std::span<float> b) {
  std::vector<double> gram(rank * rank, 0.0);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t p = 0; p < rank; ++p)
      for (std::size_t q = 0; q <= p; ++q)
        gram[p * rank + q] += static_cast<double>(a[i * rank + p]) * static_cast<double>(a[i * rank + q]);
  for (std::size_t p = 0; p < rank; ++p) {
    for (std::size_t q = 0; q <= p; ++q) {
      double rest = gram[p * rank + q];
      for (std::size_t k = 0; k < q; ++k) rest -= gram[p * rank + k] * gram[q * rank + k];
      // Columns of A that depend on others leave nothing; the floor sends their part to (nearly) zero.
      gram[p * rank + q] = p == q ? std::sqrt(std::max(rest, 1e-9)) : rest / gram[q * rank + q];
    }
  }
  std::vector<double> x(rank);
  for (std::size_t j = 0; j < columns; ++j) {
    for (std::size_t p = 0; p < rank; ++p) {
      double rest = b[p * columns + j];
      for (std::size_t k = 0; k < p; ++k) rest -= gram[p * rank + k] * x[k];
      x[p] = rest / gram[p * rank + p];
    }
    for (std::size_t p = rank; p-- > 0;) {
      double rest = x[p];
      for (std::size_t k = p + 1; k < rank; ++k) rest -= gram[k * rank + p] * x[k];
      x[p] = rest / gram[p * rank + p];
    }
    for (std::size_t p = 0; p < rank; ++p) b[p * columns + j] = static_cast<float>(x[p]);
  }
}

class LowRankSubspace final : public Subspace {
 public:
  struct Block {
    Matrix matrix;
    std::size_t free_offset;
    std::vector<float> factor;              // A, shape [rows, rank]; empty where the tensor is trained whole
    std::vector<float> transposed_factor;   // shape [rank, rows]
  };

  explicit LowRankSubspace(std::vector<Block> blocks) : blocks_(std::move(blocks)) {}

  void expand_add(std::span<const float> free, std::span<float> update) const override {
    for (const auto& [m, free_offset, a, at] : blocks_) {
      const float* b = free.data() + free_offset;
      float* h = update.data() + m.offset;
      if (m.whole())
        for (std::size_t i = 0; i < m.rows * m.columns; ++i) h[i] += b[i];
      else
        multiply_add(a.data(), b, h, m.rows, m.rank, m.columns);
    }
  }

  void pull_back(std::span<const float> gradient, std::span<float> free) const override {
    for (const auto& [m, free_offset, a, at] : blocks_) {
      const float* g = gradient.data() + m.offset;
      const auto b = free.subspan(free_offset, m.rank * m.columns);
      if (m.whole()) {
        std::copy_n(g, b.size(), b.begin());
      } else {
        std::ranges::fill(b, 0.0f);
        multiply_add(at.data(), g, b.data(), m.rank, m.rows, m.columns);
      }
    }
  }

  void project(std::span<const float> update, std::span<float> free) const override {
    pull_back(update, free);
    for (const auto& [m, free_offset, a, at] : blocks_)
      if (!m.whole()) solve_normal(a, m.rows, m.rank, m.columns, free.subspan(free_offset, m.rank * m.columns));
  }

 private:
  std::vector<Block> blocks_;
};

class LowRankFamily final : public Family {
 public:
  LowRankFamily(const Parameters& parameters, const Layout& layout)
      : layout_(layout), rank_(static_cast<std::size_t>(parameters.integer("rank"))), free_(shrink(layout, rank_)) {}

  const Layout& free_layout() const noexcept override { return free_; }

  // A has independent entries ±1/sqrt(rows), so that its columns have norm 1 and H moves like B.
  std::unique_ptr<Subspace> draw(const StageContext& context) const override {
    std::vector<LowRankSubspace::Block> blocks;
    for (std::size_t t = 0; t < layout_.tensors().size(); ++t) {
      const Matrix m = as_matrix(layout_.tensors()[t], layout_.offset(t), rank_);
      std::vector<float> factor;
      if (!m.whole()) {
        StageContext tensor = context;
        tensor.stage = static_cast<std::uint32_t>(t);
        RandomReader random(tensor.key(false, Purpose::kFamilyFactor));
        const auto magnitude = static_cast<float>(1 / std::sqrt(static_cast<double>(m.rows)));
        factor.resize(m.rows * m.rank);
        for (float& entry : factor) entry = (random.next() >> 31) != 0 ? -magnitude : magnitude;
      }
      std::vector<float> flipped = transposed(factor, m.rows, factor.empty() ? 0 : m.rank);
      blocks.push_back({m, free_.offset(t), std::move(factor), std::move(flipped)});
    }
    return std::make_unique<LowRankSubspace>(std::move(blocks));
  }

 private:
  static Layout shrink(const Layout& layout, std::size_t rank) {
    std::vector<Tensor> tensors;
    for (const Tensor& tensor : layout.tensors()) {
      const Matrix m = as_matrix(tensor, 0, rank);
      tensors.push_back(m.whole() ? tensor : Tensor{tensor.name, {m.rank, m.columns}});
    }
    return Layout(std::move(tensors));
  }

  Layout layout_;
  std::size_t rank_;
  Layout free_;
};

}  // namespace

const StageDescriptor kLowRank{
    .id = 3,
    .name = "lowrank",
    .summary = "sends each matrix as two factors of low rank, found by subspace iteration from those of the frame before; "
               "as a structure, trains updates of the form H = A·B, where A is drawn anew each round from the shared seed, "
               "and B is trained and sent",
    .source = "Vogels et al. 2019, arXiv 1905.13727, algorithm 1 (PowerSGD); Konečný et al. 2016, arXiv 1610.05492, section 2 "
              "(low rank)",
    .parameters = kParameters,
    .make_transform = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Transform> {
      return std::make_unique<LowRank>(p, input);
    },
    .make_family = [](const Parameters& p, const Layout& layout) -> std::unique_ptr<Family> {
      return std::make_unique<LowRankFamily>(p, layout);
    },
};

}  // namespace fewbits
