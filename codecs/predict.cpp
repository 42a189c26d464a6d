#include "codecs/predict.h"

#include <algorithm>
#include <cmath>

#include "factors.h"
#include "kernels/kernels.h"
#include "kernels/low_rank.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "by", .type = ParameterType::kChoice, .choices = "lowrank", .default_value = "lowrank",
     .summary = "low-rank factors of each matrix, sent in bfloat16"},
    {.name = "rank", .type = ParameterType::kInteger, .min = 1, .max = 1 << 20,
     .summary = "at most so many pairs of factors a matrix; an encoder sends those that pay"},
    {.name = "iterations", .type = ParameterType::kInteger, .min = 1, .max = 16, .default_value = "1",
     .summary = "steps of the search for the best factors", .rate_wish = true},
};

constexpr unsigned kFactorBits = 16;

// log2 from below, by less than 0.09: exact at powers of two and straight between them. The same on every machine.
double low_log2(double value) noexcept {
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);
  return exponent - 2 + 2 * fraction;
}

// x − P̂·Q̂ᵀ goes on, where P̂ and Q̂ are the factors as they are sent: both ends know them alike, so nothing is lost, and whoever
// codes what goes on without bias codes x without bias.
class Predict final : public Transform {
 public:
  Predict(const Parameters& parameters, const InputShape& input)
      : n_(input.values), iterations_(static_cast<std::size_t>(parameters.integer("iterations"))),
        matrices_(matrices_of(input.tensors, static_cast<std::size_t>(parameters.integer("rank")))) {
    for (const MatrixPart& part : matrices_) {
      columns_ = std::max(columns_, part.columns);
      factors_ = std::max(factors_, part.factor_values());
      max_side_bytes_ += varint_bytes(part.rank) + kFactorBits / 8 * part.factor_values();
    }
  }

  std::size_t outputs() const noexcept override { return n_; }
  bool shared() const noexcept override { return false; }
  bool linear() const noexcept override { return matrices_.empty(); }   // it adds the prediction
  bool keeps_tensors() const noexcept override { return true; }

  // What goes on has no more energy than x: an encoder sends no factors that add to it. So ‖P̂·Q̂ᵀ‖ ≤ 2‖x‖, and with a norm of
  // g·‖x‖ of what comes back, g ≥ 1, their sum is at most 3·g·‖x‖.
  Traits traits(const InputTraits&) const override { return {Unbiased::kAlways, 0.0, matrices_.empty() ? 1.0 : 3.0}; }

  InputTraits output_traits(const InputTraits& input) const override {
    return matrices_.empty() ? input : InputTraits{n_, std::nullopt, false};
  }

  std::size_t max_side_bytes() const noexcept override { return max_side_bytes_; }

  std::size_t workspace_bytes() const noexcept override {
    return FactorSearch::workspace_bytes(matrices_) + Workspace::bytes_for<double>(factors_) +
           Workspace::bytes_for<double>(columns_);
  }

  void forward(const StageContext& context, std::span<const float> x, std::span<float> y, ByteWriter& side) const override {
    std::ranges::copy(x, y.begin());
    FactorSearch search(context, matrices_, iterations_);
    for (const MatrixPart& part : matrices_) {
      const Workspace::Scope scope(*context.workspace);
      const auto matrix = x.subspan(part.offset, part.values());
      const Factors found = search.find(part, matrix);
      std::size_t rank = worth(part, found.energies, kernels::low_rank_energy(matrix));
      if (rank != 0 && !subtract(*context.workspace, part, rounded(*context.workspace, part, found, rank), rank, matrix,
                                 y.subspan(part.offset, part.values()))) {
        std::ranges::copy(matrix, y.begin() + static_cast<std::ptrdiff_t>(part.offset));
        rank = 0;
      }
      side.varint(rank);
      for (const float value : found.values.first(rank * (part.rows + part.columns))) side.u16(kernels::to_bfloat(value));
    }
  }

  void check(ByteReader& side) const override {
    for (const MatrixPart& part : matrices_) {
      const std::uint64_t rank = side.varint();
      if (rank > part.rank)
        side.malformed(std::to_string(rank) + " pairs of factors for a matrix of " + std::to_string(part.rows) + "×" +
                       std::to_string(part.columns) + ", where at most " + std::to_string(part.rank) + " can be");
      ByteReader values(side.bytes(static_cast<std::size_t>(rank) * (part.rows + part.columns) * kFactorBits / 8));
      while (values.remaining() != 0)
        if (!std::isfinite(read_factor(values))) side.malformed("a factor is NaN or infinite");
    }
  }

  // The prediction's entries are at most Σ_k max|left_k|·max|right_k|.
  double largest(std::span<const std::byte> side, double most) const noexcept override {
    double predicted = 0;
    ByteReader reader(side);
    for (const MatrixPart& part : matrices_) {
      double sum = 0;
      for (std::uint64_t rank = reader.varint(); rank != 0; --rank) {
        const double left = largest_factor(reader, part.rows);
        sum += left * largest_factor(reader, part.columns);
      }
      predicted = std::max(predicted, sum);
    }
    return most + predicted;
  }

  void inverse_add(const StageContext& context, std::span<const std::byte> side, std::span<double> y,
                   std::span<double> x) const noexcept override {
    const Workspace::Scope scope(*context.workspace);
    const auto factors = context.workspace->take<double>(factors_);
    const auto products = context.workspace->take<double>(columns_);
    ByteReader reader(side);
    for (const MatrixPart& part : matrices_) {
      const auto rank = static_cast<std::size_t>(reader.varint());
      const auto own = factors.first(rank * (part.rows + part.columns));
      for (double& value : own) value = static_cast<double>(read_factor(reader));
      const auto row = products.first(part.columns);
      for (std::size_t i = 0; rank != 0 && i < part.rows; ++i) {
        kernels::low_rank_row(own, rank, part.rows, part.columns, i, row);
        double* out = y.data() + part.offset + i * part.columns;
        for (std::size_t j = 0; j < part.columns; ++j) out[j] += row[j];
      }
    }
    for (std::size_t i = 0; i < n_; ++i) x[i] += y[i];
  }

 private:
  static float read_factor(ByteReader& in) { return kernels::from_bfloat(in.u16()); }

  static double largest_factor(ByteReader& in, std::size_t count) {
    double most = 0;
    for (; count != 0; --count) most = std::max(most, std::abs(static_cast<double>(read_factor(in))));
    return most;
  }

  // How many pairs save the most bits. At the limit of rate and distortion an energy that is smaller by the factor ρ saves
  // ½·log2(1/ρ) bits a value at equal error, whatever the rate; a pair costs 16 bits a value of its own. Rounding it to
  // bfloat16 leaves 2^-16 of its energy, at most.
  static std::size_t worth(const MatrixPart& part, std::span<const double> energies, double energy) noexcept {
    const double rounding = 0x1p-16 * energy;
    const double pair = kFactorBits * static_cast<double>(part.rows + part.columns);
    double left = energy;
    double most = 0;
    std::size_t best = 0;
    for (std::size_t k = 0; k < part.rank; ++k) {
      left = std::max(left - energies[k], 0.0);
      if (energy == 0) break;
      const double saved = static_cast<double>(part.values()) / 2 * low_log2(energy / (left + rounding)) -
                           static_cast<double>(k + 1) * pair;
      if (saved > most) {
        most = saved;
        best = k + 1;
      }
    }
    return best;
  }

  std::span<const double> rounded(Workspace& workspace, const MatrixPart& part, const Factors& found,
                                  std::size_t rank) const noexcept {
    const auto factors = workspace.take<double>(factors_).first(rank * (part.rows + part.columns));
    for (std::size_t i = 0; i < factors.size(); ++i)
      factors[i] = static_cast<double>(kernels::from_bfloat(kernels::to_bfloat(found.values[i])));
    return factors;
  }

  // rest = matrix − the prediction. False where it has more energy than the matrix.
  bool subtract(Workspace& workspace, const MatrixPart& part, std::span<const double> factors, std::size_t rank,
                std::span<const float> matrix, std::span<float> rest) const noexcept {
    const auto row = workspace.take<double>(columns_).first(part.columns);
    double before = 0, after = 0;
    for (std::size_t i = 0; i < part.rows; ++i) {
      kernels::low_rank_row(factors, rank, part.rows, part.columns, i, row);
      for (std::size_t j = 0; j < part.columns; ++j) {
        const std::size_t at = i * part.columns + j;
        rest[at] = static_cast<float>(static_cast<double>(matrix[at]) - row[j]);
        before += static_cast<double>(matrix[at]) * static_cast<double>(matrix[at]);
        after += static_cast<double>(rest[at]) * static_cast<double>(rest[at]);
      }
    }
    return after <= before;
  }

  std::size_t n_;
  std::size_t iterations_;
  std::vector<MatrixPart> matrices_;
  std::size_t columns_ = 0;   // the most of any matrix
  std::size_t factors_ = 0;
  std::size_t max_side_bytes_ = 0;
};

}  // namespace

const StageDescriptor kPredict{
    .id = 22,
    .name = "predict",
    .summary = "sends low-rank factors of each matrix beside the values, and passes on what they leave: unbiased where what "
               "follows is, and exact where the factors are",
    .source = "Vogels et al. 2019, arXiv 1905.13727, algorithm 1 (factors); an unbiased code of what they leave: docs/codecs.md",
    .parameters = kParameters,
    .make_transform = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Transform> {
      return std::make_unique<Predict>(p, input);
    },
};

}  // namespace fewbits
