#include "codecs/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "bits", .type = ParameterType::kInteger, .min = 1, .max = 8,
     .summary = "bits a value: 2^bits evenly spaced points between the least and the largest value"},
    {.name = "block", .type = ParameterType::kInteger, .min = 0, .max = 1 << 24, .default_value = "0",
     .summary = "values that share a least and a largest value (8 bytes a block); 0: all of them"},
};

class Quantize final : public Quantizer {
 public:
  Quantize(const Parameters& parameters, std::size_t values)
      : n_(values), levels_((1u << parameters.integer("bits")) - 1),
        block_(static_cast<std::size_t>(parameters.integer("block"))) {
    if (block_ == 0 || block_ > n_) block_ = n_;
  }

  // Suresh et al. 2017, theorem 2, for k points: n/(2(k − 1)²); after a rotation theorem 3: (2 ln n + 2)/(k − 1)², n the
  // values that share a range.
  Traits traits(const InputTraits& input) const override {
    if (n_ == 0) return {Unbiased::kAlways, 0.0, 1.0};
    const double steps = levels_;
    const auto block = static_cast<double>(block_);
    const double plain = block / (2 * steps * steps);
    const double rotated = input.rotated_spread.value_or(0) * (2 * std::log(block) + 2) / (steps * steps);
    const double bound = input.rotated_spread ? std::min(plain, rotated) : plain;
    // An error is under a step in each value, and a range under sqrt(2)·‖x‖.
    return {Unbiased::kAlways, bound, 1 + std::sqrt(2 * static_cast<double>(n_)) / steps};
  }

  std::uint64_t alphabet_size() const noexcept override { return levels_ + 1; }
  std::size_t max_side_bytes() const noexcept override { return blocks() * kRangeBytes; }

  void quantize(const StageContext& context, std::span<const float> x, std::span<std::int32_t> symbols,
                ByteWriter& side) const override {
    for_blocks(x.size(), [&](std::size_t block, std::size_t start, std::size_t count) {
      const auto values = x.subspan(start, count);
      const kernels::Range range = kernels::min_max(values);
      side.f32(range.min);
      side.f32(range.max);
      // Blocks begin at a multiple of the generator's 32 values, whatever their size.
      const std::uint64_t first = block * ((block_ + 31) / 32 * 32);
      kernels::quantize_uniform(context.key(true, Purpose::kRounding), first, range, levels_, values,
                                symbols.subspan(start, count));
    });
  }

  void check_side(const StageContext&, ByteReader& side) const override {
    for (std::size_t block = 0; block < blocks(); ++block) {
      const kernels::Range range = read_range(side);
      if (!std::isfinite(range.min) || !std::isfinite(range.max) || range.min > range.max)
        side.malformed("block " + std::to_string(block) + " ranges from " + std::to_string(range.min) + " to " +
                       std::to_string(range.max));
      if ((range.min == 0 && std::signbit(range.min)) || (range.max == 0 && std::signbit(range.max)))
        side.malformed("block " + std::to_string(block) + " has a negative zero for a bound");
    }
  }

  bool each_alone() const noexcept override { return block_ == n_; }
  bool all_right(std::span<const std::byte> side) const noexcept override {
    if (side.empty()) return false;
    ByteReader reader(side);
    const kernels::Range range = read_range(reader);
    return range.min < range.max;
  }

  bool packs() const noexcept override { return block_ == n_ && std::has_single_bit(bits()); }

  void quantize_packed(const StageContext& context, std::span<const float> x, ByteWriter& out) const override {
    if (x.empty()) return;
    const kernels::Range range = kernels::min_max(x);
    out.f32(range.min);
    out.f32(range.max);
    kernels::quantize_packed(context.key(true, Purpose::kRounding), range, bits(), x,
                             out.grow(kernels::packed_bytes(x.size(), bits())));
  }

  void accumulate_packed(std::span<const Packed> frames, std::span<double> sum) const noexcept override {
    if (sum.empty()) return;
    kernels::PackedUniform uniform[kPackedAtOnce];
    for (std::size_t i = 0; i < frames.size(); ++i) {
      ByteReader side(frames[i].side);
      uniform[i] = {frames[i].bytes, read_range(side), frames[i].weight};
    }
    kernels::accumulate_packed(std::span(uniform).first(frames.size()), bits(), sum);
  }

  double check_symbols(const StageContext&, std::span<const std::byte> side,
                       std::span<const std::int32_t> symbols) const override {
    ByteReader reader(side);
    double most = 0;
    for_blocks(symbols.size(), [&](std::size_t block, std::size_t start, std::size_t count) {
      const kernels::Range range = read_range(reader);
      most = std::max({most, std::abs(static_cast<double>(range.min)), std::abs(static_cast<double>(range.max))});
      const auto own = symbols.subspan(start, count);
      if (range.min == range.max && std::ranges::any_of(own, [](std::int32_t symbol) { return symbol != 0; }))
        throw Error(Errc::kMalformed, "block " + std::to_string(block) + " has one value and several symbols");
    });
    return most;
  }

  void accumulate(const StageContext&, std::span<const std::byte> side, std::span<const std::int32_t> symbols,
                  double weight, std::span<double> sum) const noexcept override {
    ByteReader reader(side);
    for_blocks(symbols.size(), [&](std::size_t, std::size_t start, std::size_t count) {
      kernels::accumulate_uniform(read_range(reader), levels_, symbols.subspan(start, count), weight,
                                  sum.subspan(start, count));
    });
  }

 private:
  static constexpr std::size_t kRangeBytes = 8;

  static kernels::Range read_range(ByteReader& side) {
    const float min = side.f32();
    return {min, side.f32()};
  }

  unsigned bits() const noexcept { return symbol_bits(alphabet_size()); }
  std::size_t blocks() const noexcept { return n_ == 0 ? 0 : (n_ + block_ - 1) / block_; }

  // The blocks of so many values.
  template <class Visit>
  void for_blocks(std::size_t values, Visit visit) const {
    for (std::size_t start = 0; start < values; start += block_)
      visit(start / block_, start, std::min(block_, values - start));
  }

  std::size_t n_;
  std::uint32_t levels_;
  std::size_t block_;
};

}  // namespace

const StageDescriptor kQuantize{
    .id = 4,
    .name = "quantize",
    .summary = "probabilistic quantization: rounds each value up or down to one of 2^bits points between the least and "
               "the largest, at random so that its mean stays right",
    .source = "Konečný et al. 2016, arXiv 1610.05492, section 3 (probabilistic quantization); Suresh et al. 2017, arXiv "
              "1611.00429, section 2",
    .parameters = kParameters,
    .make_quantizer = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Quantizer> {
      return std::make_unique<Quantize>(p, input.values);
    },
};

}  // namespace fewbits
