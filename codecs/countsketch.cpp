#include "codecs/countsketch.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace fewbits {
namespace {

constexpr std::size_t kMostRows = 16;

constexpr ParameterSpec kParameters[] = {
    {.name = "rows", .type = ParameterType::kInteger, .min = 1, .max = kMostRows, .default_value = "1",
     .summary = "times that each coordinate is added in"},
    {.name = "columns", .type = ParameterType::kInteger, .min = 1, .max = 1 << 24,
     .summary = "cells of a row; a sketch never has more cells than there are coordinates", .optional = true},
    {.name = "keep", .type = ParameterType::kNumber, .min = 0, .max = 1, .min_excluded = true,
     .summary = "or: cells in all, as a share of the coordinates", .optional = true},
    {.name = "estimate", .type = ParameterType::kChoice, .choices = "mean|median", .default_value = "mean",
     .summary = "how a coordinate is read from its cells: the median of the rows is biased, and steadier where few are large"},
    {.name = "seed", .type = ParameterType::kChoice, .choices = "round|client", .default_value = "round",
     .summary = "all clients of a round use the same cells, so that sketches add up, or each its own"},
};

class CountSketch final : public Transform {
 public:
  CountSketch(const Parameters& parameters, std::size_t inputs)
      : n_(inputs), rows_(std::min(static_cast<std::size_t>(parameters.integer("rows")), inputs)),
        median_(parameters.choice("estimate") == "median"), per_client_(parameters.choice("seed") == "client") {
    if (n_ == 0) return;
    double wanted = 0;
    if (parameters.has("columns"))
      wanted = static_cast<double>(parameters.integer("columns"));
    else
      wanted = std::floor(parameters.number("keep") * static_cast<double>(n_) / static_cast<double>(rows_) + 0.5);
    columns_ = std::clamp<std::size_t>(static_cast<std::size_t>(wanted), 1, n_ / rows_);
  }

  std::size_t outputs() const noexcept override { return rows_ * columns_; }
  bool shared() const noexcept override { return !per_client_; }
  bool linear() const noexcept override { return !median_; }

  // Of one row: x_i is met in its cell by every other coordinate with the chance 1/C, with a sign that does not depend on the
  // others: variance (‖x‖² − x_i²)/C. Rows are independent. At worst all meet in one cell.
  Traits traits(const InputTraits&) const override {
    if (n_ == 0) return {Unbiased::kAlways, 0.0, 1.0};
    if (median_ && rows_ > 1) return {Unbiased::kNo, std::nullopt, static_cast<double>(n_)};
    return {Unbiased::kAlways, static_cast<double>(n_ - 1) / static_cast<double>(outputs()), static_cast<double>(n_)};
  }

  InputTraits output_traits(const InputTraits&) const override { return {outputs(), std::nullopt}; }

  std::size_t workspace_bytes() const noexcept override { return Workspace::bytes_for<double>(outputs()); }

  void forward(const StageContext& context, std::span<const float> x, std::span<float> y, ByteWriter&) const override {
    const Workspace::Scope scope(*context.workspace);
    const auto cells = context.workspace->take<double>(outputs());
    std::ranges::fill(cells, 0.0);
    Hashes hashes(*this, context);
    for (const float value : x)
      for (std::size_t row = 0; row < rows_; ++row) {
        const Cell cell = hashes.next(row);
        cells[cell.index] += cell.minus ? -static_cast<double>(value) : static_cast<double>(value);
      }
    std::ranges::transform(cells, y.begin(), [](double sum) { return static_cast<float>(sum); });
  }

  void inverse_add(const StageContext& context, std::span<const std::byte>, std::span<double> y,
                   std::span<double> x) const noexcept override {
    Hashes hashes(*this, context);
    std::array<double, kMostRows> estimates{};
    for (double& value : x) {
      for (std::size_t row = 0; row < rows_; ++row) {
        const Cell cell = hashes.next(row);
        estimates[row] = cell.minus ? -y[cell.index] : y[cell.index];
      }
      value += median_ ? median(std::span(estimates).first(rows_)) : mean(std::span(estimates).first(rows_));
    }
  }

 private:
  struct Cell {
    std::size_t index;
    bool minus;
  };

  // Cells and signs of the coordinates in turn, of each in all rows.
  class Hashes {
   public:
    Hashes(const CountSketch& sketch, const StageContext& context) noexcept
        : columns_(sketch.columns_), places_(context.key(sketch.per_client_, Purpose::kSketchCell)),
          signs_(context.key(sketch.per_client_, Purpose::kSketchSign)) {}

    Cell next(std::size_t row) noexcept {
      const auto place = static_cast<std::size_t>(std::uint64_t{places_.next()} * columns_ >> 32);
      if (left_ == 0) {
        bits_ = signs_.next();
        left_ = 32;
      }
      const bool minus = (bits_ & 1) != 0;
      bits_ >>= 1;
      --left_;
      return {row * columns_ + place, minus};
    }

   private:
    std::size_t columns_;
    RandomReader places_;
    RandomReader signs_;
    std::uint32_t bits_ = 0;
    unsigned left_ = 0;
  };

  static double mean(std::span<const double> values) noexcept {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
  }

  static double median(std::span<double> values) noexcept {
    std::ranges::sort(values);
    const std::size_t half = values.size() / 2;
    return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
  }

  std::size_t n_;
  std::size_t rows_;
  std::size_t columns_ = 0;
  bool median_;
  bool per_client_;
};

}  // namespace

const StageDescriptor kCountSketch{
    .id = 20,
    .name = "countsketch",
    .summary = "adds each coordinate, with a random sign, to one random cell of each row of a small table: linear, so that the "
               "tables of clients add up",
    .source = "Charikar, Chen, Farach-Colton 2002, sections 3.1 and 3.2; Rothchild et al. 2020, arXiv 2007.07682 (FetchSGD)",
    .parameters = kParameters,
    .check_parameters =
        [](const Parameters& p) {
          if (p.has("columns") == p.has("keep"))
            throw Error(Errc::kBadPlan, "'countsketch' takes columns=... or keep=..., one of the two", 0);
        },
    .make_transform = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Transform> {
      return std::make_unique<CountSketch>(p, input.values);
    },
};

}  // namespace fewbits
