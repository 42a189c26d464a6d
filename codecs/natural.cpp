#include "codecs/natural.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

// Zero, and 255 powers of two of either sign: 9 bits. float32 has 277 powers of two, so that the range of exponents
// depends on the largest value: from the least denormal where that is at most 2^105, else up to 2^127, the smallest values
// then becoming 2^-127 or zero at random. So the error keeps its bound for denormals too.
constexpr std::uint32_t kPowers = 255;
constexpr int kLeastExponent[] = {-149, -127};
constexpr int kTopOfLowRange = kLeastExponent[0] + static_cast<int>(kPowers) - 1;
constexpr unsigned kMantissaBits = 23;

constexpr std::uint32_t pattern_of_power(int exponent) { return static_cast<std::uint32_t>(exponent + 127) << kMantissaBits; }

// The symbol of a magnitude's bit pattern above zero, positive. `random` has 23 bits.
std::uint32_t round_to_power(std::uint32_t magnitude, bool high, std::uint32_t random) noexcept {
  if (high && magnitude < 1u << (kMantissaBits - 1)) return random < 2 * magnitude ? 1 : 0;
  int exponent = static_cast<int>(magnitude >> kMantissaBits) - 127;
  std::uint32_t mantissa = magnitude & ((1u << kMantissaBits) - 1);
  if (exponent == -127) {   // denormal: mantissa · 2^-149
    const int top = static_cast<int>(std::bit_width(mantissa)) - 1;
    exponent = top - 149;
    mantissa = mantissa << (kMantissaBits - static_cast<unsigned>(top)) & ((1u << kMantissaBits) - 1);
  }
  exponent += random < mantissa ? 1 : 0;
  return 1 + 2 * static_cast<std::uint32_t>(exponent - kLeastExponent[high]);
}

class Natural final : public Quantizer {
 public:
  explicit Natural(std::size_t values) : n_(values) {}

  // Horváth et al. 2019, theorem 1: of 2^e·(1 + f) the variance is 2^2e·f(1 − f), at most 1/8 of its square, at f = 1/3.
  Traits traits(const InputTraits&) const override { return {Unbiased::kAlways, 0.125, 2.0}; }

  std::uint64_t alphabet_size() const noexcept override { return 2 * kPowers + 1; }
  std::size_t max_side_bytes() const noexcept override { return n_ == 0 ? 0 : 1; }

  void quantize(const StageContext& context, std::span<const float> x, std::span<std::int32_t> symbols,
                ByteWriter& side) const override {
    if (n_ == 0) return;
    const kernels::Range range = kernels::min_max(x);
    const auto most = std::bit_cast<std::uint32_t>(std::max(std::abs(range.min), std::abs(range.max)));
    if (most > pattern_of_power(127))
      throw Error(Errc::kBadArgument, "value " + std::to_string(std::bit_cast<float>(most)) +
                                          " is over 2^127, the largest power of two; scale the update down");
    const bool high = most > pattern_of_power(kTopOfLowRange);
    side.u8(high ? 1 : 0);
    const RandomStream stream(context.key(true, Purpose::kRounding));
    std::uint32_t words[RandomStream::kBlockWords];
    for (std::size_t start = 0; start < n_; start += std::size(words)) {
      const std::size_t count = std::min(std::size(words), n_ - start);
      stream.fill(start, std::span(words).first(count));
      for (std::size_t i = 0; i < count; ++i) {
        const auto bits = std::bit_cast<std::uint32_t>(x[start + i]);
        const std::uint32_t magnitude = bits & 0x7FFF'FFFFu;
        const std::uint32_t symbol = magnitude == 0 ? 0 : round_to_power(magnitude, high, words[i] >> 9);
        symbols[start + i] = static_cast<std::int32_t>(symbol == 0 ? 0 : symbol + (bits >> 31));
      }
    }
  }

  void check_side(const StageContext&, ByteReader& side) const override {
    if (n_ == 0) return;
    if (const unsigned high = side.u8(); high > 1)
      side.malformed("the range of exponents is " + std::to_string(high) + "; it is 0 or 1");
  }

  double check_symbols(const StageContext&, std::span<const std::byte> side,
                       std::span<const std::int32_t> symbols) const override {
    if (n_ == 0) return 0;
    const std::int32_t largest = std::ranges::max(symbols);
    const int least = least_exponent(side);
    const int exponent = least + (largest - 1) / 2;
    if (least != kLeastExponent[0] && (largest == 0 || exponent < kTopOfLowRange))
      throw Error(Errc::kMalformed, "the range of exponents is that of larger values");
    return largest == 0 ? 0 : std::ldexp(1.0, exponent);
  }

  void accumulate(const StageContext&, std::span<const std::byte> side, std::span<const std::int32_t> symbols,
                  double weight, std::span<double> sum) const noexcept override {
    if (n_ == 0) return;
    double points[2 * kPowers + 1] = {};
    for (std::size_t j = 0; j < kPowers; ++j) {
      points[2 * j + 1] = weight * std::ldexp(1.0, least_exponent(side) + static_cast<int>(j));
      points[2 * j + 2] = -points[2 * j + 1];
    }
    kernels::accumulate_points(points, symbols, sum);
  }

 private:
  static int least_exponent(std::span<const std::byte> side) noexcept {
    return kLeastExponent[std::to_integer<std::size_t>(side.front())];
  }

  std::size_t n_;
};

}  // namespace

const StageDescriptor kNatural{
    .id = 16,
    .name = "natural",
    .summary = "natural compression: each value becomes one of the two powers of two around it, at random so that its mean "
               "stays right",
    .source = "Horváth et al. 2019, Natural compression for distributed deep learning, arXiv 1905.10988, section 2",
    .parameters = {},
    .make_quantizer = [](const Parameters&, const InputShape& input) -> std::unique_ptr<Quantizer> {
      return std::make_unique<Natural>(input.values);
    },
};

}  // namespace fewbits
