#include "codecs/sign.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

class Sign final : public Quantizer {
 public:
  explicit Sign(std::size_t values) : n_(values) {}

  // With a = ‖x‖₁/n and every |x̂_i| = a: ‖x̂ − x‖² = ‖x‖² − ‖x‖₁²/n, and ‖x‖₁ ≥ ‖x‖.
  Traits traits(const InputTraits&) const override {
    return {Unbiased::kNo, n_ == 0 ? 0 : 1 - 1 / static_cast<double>(n_), 1.0};
  }

  std::uint64_t alphabet_size() const noexcept override { return 2; }
  std::size_t max_side_bytes() const noexcept override { return n_ == 0 ? 0 : kScaleBytes; }

  void quantize(const StageContext&, std::span<const float> x, std::span<std::int32_t> symbols,
                ByteWriter& side) const override {
    if (n_ == 0) return;
    const auto scale = static_cast<float>(kernels::sum_of_magnitudes(x) / static_cast<double>(n_));
    side.f32(scale);
    for (std::size_t i = 0; i < n_; ++i) symbols[i] = x[i] < 0 && scale != 0 ? 1 : 0;
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
    return scale;
  }

  void accumulate(const StageContext&, std::span<const std::byte> side, std::span<const std::int32_t> symbols,
                  double weight, std::span<double> sum) const noexcept override {
    const double scale = weight * read_scale(side);
    const double points[] = {scale, -scale};
    kernels::accumulate_points(points, symbols, sum);
  }

 private:
  static constexpr std::size_t kScaleBytes = 4;

  static double read_scale(std::span<const std::byte> side) {
    return side.empty() ? 0.0 : static_cast<double>(ByteReader(side).f32());
  }

  std::size_t n_;
};

}  // namespace

const StageDescriptor kSign{
    .id = 17,
    .name = "sign",
    .summary = "the sign of each value, a zero's being plus, times the mean magnitude; biased, so that it needs error "
               "feedback",
    .source = "Bernstein et al. 2018, signSGD, arXiv 1802.04434; scale: Karimireddy et al. 2019, arXiv 1901.09847, "
              "algorithm 1",
    .parameters = {},
    .make_quantizer = [](const Parameters&, const InputShape& input) -> std::unique_ptr<Quantizer> {
      return std::make_unique<Sign>(input.values);
    },
};

}  // namespace fewbits
