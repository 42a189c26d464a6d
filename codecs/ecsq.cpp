#include "codecs/ecsq.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "bits", .type = ParameterType::kNumber, .min = 0.015625, .max = 8,
     .summary = "entropy of a value's symbol, for normal values", .rate_wish = true},
};

struct StepOfEntropy {
  double bits;
  double step;   // in standard deviations
};
constexpr StepOfEntropy kSteps[] = {
#include "codecs/ecsq.inc"
};

// On a straight line between the table's entries: within 2 % and 0.003 bit of what is asked.
double step_of(double bits) {
  const auto* above = std::ranges::lower_bound(kSteps, bits, {}, &StepOfEntropy::bits);
  if (above->bits == bits) return above->step;
  const auto* below = above - 1;
  return below->step + (above->step - below->step) * ((bits - below->bits) / (above->bits - below->bits));
}

// 12 bits where they are not entropy-coded; 33 deviations at the finest step. What lies beyond is cut off, as by the last
// level of any quantizer: the scale makes up for it along the update.
constexpr std::int32_t kMostLevel = 2047;

class Ecsq final : public Quantizer {
 public:
  Ecsq(const Parameters& parameters, std::size_t values) : n_(values), step_(step_of(parameters.number("bits"))) {}

  // As for `lloyd` the error follows from the growth ‖x‖‖Q‖/⟨x, Q⟩. Let ‖x‖² be n, and s the step. Where |Q_i| is not 0,
  // |Q_i|/2 ≤ |x_i|, so that ⟨x, Q⟩ ≥ ‖Q‖²/2, and some |Q_i| is at least min(s, 3/2 of the largest value, which is at
  // least 1): growth ≤ 2√n/min(s, 3/2). For s < 2 also: zeros have at most ns²/4 of the energy, and of the others
  // |Q_i| ≥ 2/3·|x_i| up to the last level c, beyond it c ≥ |x_i|·c/√n.
  Traits traits(const InputTraits& input) const override {
    const double root = std::sqrt(static_cast<double>(std::max<std::size_t>(n_, 1)));
    double growth = 2 * root / std::min(step_, 1.5);
    if (step_ < 2)
      growth = std::min(growth, 2 * std::max(1.5, root / (kMostLevel * step_)) / (1 - step_ * step_ / 4));
    if (input.own_rotation) return {Unbiased::kOverRotations, std::nullopt, growth};
    return {Unbiased::kNo, growth * growth - 1, growth};
  }

  std::uint64_t alphabet_size() const noexcept override { return 2 * kMostLevel + 1; }
  std::size_t max_side_bytes() const noexcept override { return n_ == 0 ? 0 : kScaleBytes; }

  void quantize(const StageContext&, std::span<const float> x, std::span<std::int32_t> symbols,
                ByteWriter& side) const override {
    if (n_ == 0) return;
    const double energy = kernels::sum_of_squares(x);
    if (energy == 0) {
      std::ranges::fill(symbols, 0);
      side.f32(0);
      return;
    }
    kernels::round_to_steps(1 / (std::sqrt(energy / static_cast<double>(n_)) * step_), kMostLevel, x, symbols);
    double along = kernels::sum_of_levels(x, symbols);
    if (along == 0) {   // no value reaches half a step: one that the largest reaches
      const kernels::Range range = kernels::min_max(x);
      const double most = std::max(std::abs(range.min), std::abs(range.max));
      kernels::round_to_steps(1 / (1.5 * most), kMostLevel, x, symbols);
      along = kernels::sum_of_levels(x, symbols);
    }
    const auto scale = static_cast<float>(energy / along);
    if (!std::isfinite(scale))
      throw Error(Errc::kBadArgument, "the update is so large that the scale of 'ecsq' is beyond float32; scale it down");
    if (scale == 0) std::ranges::fill(symbols, 0);
    side.f32(scale);
  }

  void check_side(const StageContext&, ByteReader& side) const override {
    if (n_ != 0) side.scale();
  }

  double check_symbols(const StageContext&, std::span<const std::byte> side,
                       std::span<const std::int32_t> symbols) const override {
    if (n_ == 0) return 0;
    const double scale = read_scale(side);
    const std::int32_t largest = std::ranges::max(symbols);
    if ((scale == 0) != (largest == 0))
      throw Error(Errc::kMalformed, scale == 0 ? "the scale is zero and a symbol is not"
                                               : "all symbols are zero and the scale is not");
    return scale * ((largest + 1) / 2);
  }

  void accumulate(const StageContext&, std::span<const std::byte> side, std::span<const std::int32_t> symbols,
                  double weight, std::span<double> sum) const noexcept override {
    kernels::accumulate_signed(weight * read_scale(side), symbols, sum);
  }

 private:
  static constexpr std::size_t kScaleBytes = 4;

  static double read_scale(std::span<const std::byte> side) {
    return side.empty() ? 0.0 : static_cast<double>(ByteReader(side).f32());
  }

  std::size_t n_;
  double step_;
};

}  // namespace

const StageDescriptor kEcsq{
    .id = 24,
    .name = "ecsq",
    .summary = "entropy-coded EDEN: multiples of a step, zero among them, and one scale that makes the decoded vector right "
               "along the update; behind hadamard:seed=client",
    .source = "Vargaftik et al. 2022, EDEN, arXiv 2108.08842, section 3 (entropy encoding)",
    .parameters = kParameters,
    .make_quantizer = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Quantizer> {
      return std::make_unique<Ecsq>(p, input.values);
    },
    .default_coder = [](const Parameters&) -> std::string_view { return "rans"; },
};

}  // namespace fewbits
