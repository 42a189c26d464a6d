#include "codecs/float_formats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

struct Binary32 {
  static constexpr std::uint64_t kSize = std::uint64_t{1} << 32;
  static constexpr Traits kTraits{Unbiased::kAlways, 0.0, 1.0};
  static constexpr const char* kRange = "3.4e38";
  static std::uint32_t encode(float value) noexcept { return std::bit_cast<std::uint32_t>(value); }
  static float decode(std::uint32_t bits) noexcept { return std::bit_cast<float>(bits); }
  static constexpr std::uint32_t kMagnitude = 0x7FFF'FFFFu;
  static constexpr auto kAccumulate = kernels::accumulate_floats;
  static bool encode(std::span<const float> x, std::span<std::int32_t> symbols) noexcept {
    if (!x.empty()) std::memcpy(symbols.data(), x.data(), x.size_bytes());
    return kernels::all_finite(x);
  }
};

// Rounding to nearest is not unbiased, and below the smallest normal number has no relative bound. A value at most doubles.
struct Binary16 {
  static constexpr std::uint64_t kSize = 1u << 16;
  static constexpr Traits kTraits{Unbiased::kNo, std::nullopt, 2.0};
  static constexpr const char* kRange = "65504";
  static std::uint32_t encode(float value) noexcept { return kernels::to_half(value); }
  static float decode(std::uint32_t bits) noexcept { return kernels::from_half(static_cast<std::uint16_t>(bits)); }
  static constexpr std::uint32_t kMagnitude = 0x7FFFu;
  static constexpr auto kAccumulate = kernels::accumulate_halves;
  static bool encode(std::span<const float> x, std::span<std::int32_t> symbols) noexcept {
    return kernels::to_halves(x, symbols);
  }
};

struct BFloat16 {
  static constexpr std::uint64_t kSize = 1u << 16;
  static constexpr Traits kTraits{Unbiased::kNo, std::nullopt, 2.0};
  static constexpr const char* kRange = "3.39e38";
  static std::uint32_t encode(float value) noexcept { return kernels::to_bfloat(value); }
  static float decode(std::uint32_t bits) noexcept { return kernels::from_bfloat(static_cast<std::uint16_t>(bits)); }
  static constexpr std::uint32_t kMagnitude = 0x7FFFu;
  static constexpr auto kAccumulate = kernels::accumulate_bfloats;
  static bool encode(std::span<const float> x, std::span<std::int32_t> symbols) noexcept {
    return kernels::to_bfloats(x, symbols);
  }
};

// Values as they are, in a format of fewer bits; a symbol is the pattern of one value.
template <class Format>
class FloatFormat : public Quantizer {
 public:
  Traits traits(const InputTraits&) const override { return Format::kTraits; }
  std::uint64_t alphabet_size() const noexcept override { return Format::kSize; }

  void quantize(const StageContext&, std::span<const float> x, std::span<std::int32_t> symbols,
                ByteWriter&) const override {
    if (Format::encode(x, symbols)) return;
    for (const float value : x)
      if (!std::isfinite(Format::decode(Format::encode(value))))
        throw Error(Errc::kBadArgument, "value " + std::to_string(value) + " is over the format's largest, " +
                                            Format::kRange);
  }

  bool each_alone() const noexcept override { return true; }

  double check_symbols(const StageContext&, std::span<const std::byte>,
                       std::span<const std::int32_t> symbols) const override {
    // Patterns of magnitudes are ordered as the magnitudes, NaN last.
    const float most = Format::decode(kernels::largest_pattern(symbols, Format::kMagnitude));
    if (!std::isfinite(most)) throw Error(Errc::kMalformed, "a value is NaN or infinite");
    return most;
  }

  void accumulate(const StageContext&, std::span<const std::byte>, std::span<const std::int32_t> symbols, double weight,
                  std::span<double> sum) const noexcept override {
    Format::kAccumulate(weight, symbols, sum);
  }
};

// Packed symbols of 32 bits are the values themselves, in their order.
class Floats final : public FloatFormat<Binary32> {
 public:
  bool packs() const noexcept override { return true; }

  void quantize_packed(const StageContext&, std::span<const float> x, ByteWriter& out) const override {
    out.bytes(std::as_bytes(x));
  }

  void accumulate_packed(std::span<const Packed> frames, std::span<double> sum) const noexcept override {
    constexpr std::size_t kPart = 1024;   // of a frame, whose bytes may begin anywhere
    std::int32_t patterns[kPart];
    for (const auto& [side, bytes, weight] : frames)
      for (std::size_t first = 0; first < sum.size(); first += kPart) {
        const auto part = sum.subspan(first, std::min(kPart, sum.size() - first));
        std::memcpy(patterns, bytes.data() + first * sizeof(float), part.size() * sizeof(float));
        kernels::accumulate_floats(weight, std::span(patterns).first(part.size()), part);
      }
  }
};

template <class Format>
std::unique_ptr<Quantizer> make(const Parameters&, const InputShape&) {
  return std::make_unique<Format>();
}

}  // namespace

const StageDescriptor kF32{
    .id = 5,
    .name = "f32",
    .summary = "values as they are: IEEE binary32",
    .source = "IEEE 754-2019",
    .parameters = {},
    .make_quantizer = make<Floats>,
};

const StageDescriptor kF16{
    .id = 6,
    .name = "f16",
    .summary = "IEEE binary16, rounded to nearest; at most 65504 in magnitude",
    .source = "IEEE 754-2019",
    .parameters = {},
    .make_quantizer = make<FloatFormat<Binary16>>,
};

const StageDescriptor kBf16{
    .id = 7,
    .name = "bf16",
    .summary = "bfloat16, rounded to nearest: the upper half of binary32",
    .source = "Intel, BFLOAT16 numerics definition, 2018",
    .parameters = {},
    .make_quantizer = make<FloatFormat<BFloat16>>,
};

}  // namespace fewbits
