#include "codecs/ternary.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

class Ternary final : public Quantizer {
 public:
  explicit Ternary(std::size_t values) : n_(values) {}

  // The variance of a value is |x|(max − |x|), so that the NMSE is max·‖x‖₁/‖x‖² − 1 exactly. It is largest for one value
  // of 1 and the others of 1/(√n + 1): (√n − 1)/2.
  Traits traits(const InputTraits&) const override {
    const double root = std::sqrt(static_cast<double>(std::max<std::size_t>(n_, 1)));
    return {Unbiased::kAlways, (root - 1) / 2, root};
  }

  std::uint64_t alphabet_size() const noexcept override { return 3; }
  std::size_t max_side_bytes() const noexcept override { return n_ == 0 ? 0 : kScaleBytes; }

  void quantize(const StageContext& context, std::span<const float> x, std::span<std::int32_t> symbols,
                ByteWriter& side) const override {
    if (n_ == 0) return;
    const kernels::Range range = kernels::min_max(x);
    const float most = std::max(std::abs(range.min), std::abs(range.max));
    side.f32(most);
    const double slope = most == 0 ? 0 : 1 / static_cast<double>(most);
    kernels::round_magnitudes(context.key(true, Purpose::kRounding), n_, {&slope, 1}, x, symbols);
  }

  void check_side(const StageContext&, ByteReader& side) const override {
    if (n_ != 0) side.scale();
  }

  bool each_alone() const noexcept override { return true; }

  double check_symbols(const StageContext&, std::span<const std::byte> side,
                       std::span<const std::int32_t> symbols) const override {
    const double most = read_scale(side);
    if (most == 0 && std::ranges::any_of(symbols, [](std::int32_t symbol) { return symbol != 0; }))
      throw Error(Errc::kMalformed, "the largest value is zero and a value is not");
    return most;
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
};

}  // namespace

const StageDescriptor kTernary{
    .id = 15,
    .name = "ternary",
    .summary = "TernGrad without its clipping, which biases: each value becomes zero or the largest magnitude with its "
               "sign, at random so that its mean stays right",
    .source = "Wen et al. 2017, TernGrad, arXiv 1705.07878, equations 2 to 4",
    .parameters = {},
    .make_quantizer = [](const Parameters&, const InputShape& input) -> std::unique_ptr<Quantizer> {
      return std::make_unique<Ternary>(input.values);
    },
    .default_coder = [](const Parameters&) -> std::string_view { return "rans"; },
};

}  // namespace fewbits
