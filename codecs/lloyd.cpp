#include "codecs/lloyd.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "bits", .type = ParameterType::kInteger, .min = 1, .max = 8,
     .summary = "bits a value: the 2^bits points that err least for normal values"},
};

constexpr unsigned kMaxBits = 8;

constexpr double kPositiveLevels[] = {
#include "codecs/lloyd.inc"
};
static_assert(std::size(kPositiveLevels) == (1u << kMaxBits) - 1);

class Lloyd final : public Quantizer {
 public:
  Lloyd(const Parameters& parameters, std::size_t values)
      : n_(values), size_(std::size_t{1} << parameters.integer("bits")) {
    const std::size_t half = size_ / 2;
    for (std::size_t j = 0; j < half; ++j) {
      levels_[half + j] = kPositiveLevels[half - 1 + j];
      levels_[half - 1 - j] = -levels_[half + j];
    }
  }

  // With x̂ = S·Q and S = ‖x‖²/⟨x, Q⟩, ⟨x̂, x⟩ = ‖x‖², so that ‖x̂ − x‖² = ‖x̂‖² − ‖x‖²: the error follows from the growth
  // ‖x‖‖Q‖/⟨x, Q⟩. Let ‖x‖² be n. All |Q| are equal at 1 bit, and ‖x‖₁ ≥ ‖x‖. Else |Q_i| ≤ max(c₁, 2|x_i|), since a
  // threshold is at least half the level above it, so that ‖Q‖² ≤ n(c₁² + 4). Up to the last level c, |Q_i| is at least
  // |x_i|·c₁/t₁, t₁ the first threshold; beyond it c ≥ |x_i|·c/√n. So ⟨x, Q⟩ ≥ n·min(c₁/t₁, c/√n).
  Traits traits(const InputTraits& input) const override {
    const auto n = static_cast<double>(std::max<std::size_t>(n_, 1));
    const double least = levels_[size_ / 2];
    double growth = std::sqrt(n);
    if (size_ > 2) {
      const double threshold = (least + levels_[size_ / 2 + 1]) / 2;
      growth = std::sqrt(least * least + 4) * std::max(threshold / least, std::sqrt(n) / levels_[size_ - 1]);
    }
    if (input.own_rotation) return {Unbiased::kOverRotations, std::nullopt, growth};
    return {Unbiased::kNo, growth * growth - 1, growth};
  }

  std::uint64_t alphabet_size() const noexcept override { return size_; }
  std::size_t max_side_bytes() const noexcept override { return n_ == 0 ? 0 : kScaleBytes; }

  void quantize(const StageContext&, std::span<const float> x, std::span<std::int32_t> symbols,
                ByteWriter& side) const override {
    if (n_ == 0) return;
    const double energy = kernels::sum_of_squares(x);
    const double deviation = std::sqrt(energy / static_cast<double>(n_));
    float thresholds[(1u << kMaxBits) - 1];
    for (std::size_t j = 0; j + 1 < size_; ++j)
      thresholds[j] = static_cast<float>(deviation * ((levels_[j] + levels_[j + 1]) / 2));
    kernels::count_thresholds(x, std::span(thresholds).first(size_ - 1), symbols);
    const auto scale = energy == 0 ? 0.0f
                                   : static_cast<float>(energy / kernels::sum_of_products(x, symbols, levels()));
    if (!std::isfinite(scale))
      throw Error(Errc::kBadArgument, "the update is so large that the scale of 'lloyd' is beyond float32; scale it down");
    if (scale == 0) std::ranges::fill(symbols, 0);
    side.f32(scale);
  }

  void check_side(const StageContext&, ByteReader& side) const override {
    if (n_ != 0) side.scale();
  }

  bool each_alone() const noexcept override { return true; }
  bool all_right(std::span<const std::byte> side) const noexcept override { return !side.empty() && read_scale(side) != 0; }

  double check_symbols(const StageContext&, std::span<const std::byte> side,
                       std::span<const std::int32_t> symbols) const override {
    const double scale = read_scale(side);
    if (scale == 0 && std::ranges::any_of(symbols, [](std::int32_t symbol) { return symbol != 0; }))
      throw Error(Errc::kMalformed, "the scale is zero and a symbol is not");
    return scale * levels_[size_ - 1];
  }

  void accumulate(const StageContext&, std::span<const std::byte> side, std::span<const std::int32_t> symbols,
                  double weight, std::span<double> sum) const noexcept override {
    const double scale = weight * read_scale(side);
    double points[1u << kMaxBits];
    for (std::size_t j = 0; j < size_; ++j) points[j] = scale * levels_[j];
    kernels::accumulate_points(std::span(points).first(size_), symbols, sum);
  }

 private:
  static constexpr std::size_t kScaleBytes = 4;

  static double read_scale(std::span<const std::byte> side) {
    return side.empty() ? 0.0 : static_cast<double>(ByteReader(side).f32());
  }

  std::span<const double> levels() const noexcept { return std::span(levels_).first(size_); }

  std::size_t n_;
  std::size_t size_;
  double levels_[1u << kMaxBits] = {};
};

}  // namespace

const StageDescriptor kLloyd{
    .id = 13,
    .name = "lloyd",
    .summary = "EDEN's quantizer (DRIVE's at 1 bit): the nearest point of the Lloyd–Max quantizer of a normal value, and "
               "one scale that makes the decoded vector right along the update; behind hadamard:seed=client",
    .source = "Vargaftik et al. 2022, EDEN, arXiv 2108.08842, section 3; Vargaftik et al. 2021, DRIVE, arXiv 2105.08339, "
              "section 4; levels: Lloyd 1982, Max 1960",
    .parameters = kParameters,
    .make_quantizer = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Quantizer> {
      return std::make_unique<Lloyd>(p, input.values);
    },
};

}  // namespace fewbits
