#include "kernels/kernels.h"

#include <algorithm>

#include "kernels/reference.h"
#include "kernels/targets.h"

namespace fewbits::kernels {
namespace {

targets::UniformSteps uniform_steps(Range range, std::uint32_t levels) noexcept {
  const reference::Normalizer normalize(range);
  const float low = normalize(range.min);
  const double width = static_cast<double>(normalize(range.max)) - static_cast<double>(low);
  return {normalize.first, normalize.second, low, static_cast<float>(levels / width), static_cast<float>(levels)};
}

}  // namespace

bool all_finite(std::span<const float> x) noexcept { return targets::chosen().all_finite(x.data(), x.size()); }
Range min_max(std::span<const float> x) noexcept { return targets::chosen().min_max(x.data(), x.size()); }

void walsh_hadamard(std::span<float> x) noexcept { targets::chosen().walsh_hadamard(x.data(), x.size(), 1.0f); }
void walsh_hadamard(std::span<double> x) noexcept { targets::chosen().walsh_hadamard_double(x.data(), x.size(), 1.0); }
void flip_signs(std::uint64_t key, std::span<float> x) noexcept { targets::chosen().flip_signs(key, x.data(), x.size()); }
void flip_signs(std::uint64_t key, std::span<double> x) noexcept {
  targets::chosen().flip_signs_double(key, x.data(), x.size());
}
void scale(std::span<float> x, float factor) noexcept { targets::chosen().scale(x.data(), x.size(), factor); }
void scale(std::span<double> x, double factor) noexcept { targets::chosen().scale_double(x.data(), x.size(), factor); }

void rotate(std::uint64_t key, std::span<const float> x, float factor, std::span<float> y) noexcept {
  targets::chosen().rotate(key, x.data(), y.data(), x.size(), factor);
}

void rotate_back(std::uint64_t key, double factor, std::span<double> y) noexcept {
  targets::chosen().walsh_hadamard_double(y.data(), y.size(), factor);
  targets::chosen().flip_signs_double(key, y.data(), y.size());
}

void rotate_back_add(std::uint64_t key, double factor, std::span<double> y, std::span<double> sum) noexcept {
  targets::chosen().walsh_hadamard_double(y.data(), y.size(), factor);
  targets::chosen().flip_signs_add(key, y.data(), sum.data(), y.size());
}

void quantize_uniform(std::uint64_t key, std::uint64_t first, Range range, std::uint32_t levels,
                      std::span<const float> x, std::span<std::int32_t> symbols) noexcept {
  if (range.min == range.max) {
    std::ranges::fill(symbols, 0);
    return;
  }
  const targets::UniformSteps steps = uniform_steps(range, levels);
  targets::chosen().quantize_uniform(key, first, steps, x.data(), x.size(), symbols.data());
}

void accumulate_uniform(Range range, std::uint32_t levels, std::span<const std::int32_t> symbols, double weight,
                        std::span<double> sum) noexcept {
  const double low = range.min;
  const double step = (static_cast<double>(range.max) - low) / levels;
  targets::chosen().accumulate_uniform(weight * low, weight * step, symbols.data(), symbols.size(), sum.data());
}

std::size_t packed_bytes(std::size_t count, unsigned bits) noexcept { return reference::packed_bytes(count, bits); }

void pack(std::span<const std::int32_t> symbols, unsigned bits, std::span<std::byte> bytes) noexcept {
  reference::for_planes(symbols.size(), bits, [&](unsigned width, unsigned shift, std::size_t offset) {
    const std::size_t block = 16 * (32 / width);
    const std::size_t blocks = symbols.size() / block;
    targets::chosen().pack_blocks(symbols.data(), blocks, width, shift, bytes.data() + offset);
    reference::pack_rest(symbols, blocks * block, width, shift, bytes.data() + offset + 64 * blocks);
  });
}

bool unpack(std::span<const std::byte> bytes, unsigned bits, std::span<std::int32_t> symbols) noexcept {
  if (bits == 0) std::ranges::fill(symbols, 0);
  bool canonical = true;
  reference::for_planes(symbols.size(), bits, [&](unsigned width, unsigned shift, std::size_t offset) {
    const std::size_t block = 16 * (32 / width);
    const std::size_t blocks = symbols.size() / block;
    targets::chosen().unpack_blocks(bytes.data() + offset, blocks, width, shift, symbols.data());
    const std::byte* rest = bytes.data() + offset + 64 * blocks;
    canonical = reference::unpack_rest(rest, blocks * block, width, shift, symbols) && canonical;
  });
  return canonical;
}

void quantize_packed(std::uint64_t key, Range range, unsigned bits, std::span<const float> x,
                     std::span<std::byte> bytes) noexcept {
  if (range.min == range.max) {
    std::ranges::fill(bytes, std::byte{});
    return;
  }
  const std::uint32_t levels = (1u << bits) - 1;
  const targets::UniformSteps steps = uniform_steps(range, levels);
  const std::size_t block = 16 * (32 / bits);
  std::size_t done = 0;
  if (steps.second == 1) {
    targets::chosen().quantize_packed(key, steps, bits, x.data(), x.size() / block, bytes.data());
    done = x.size() / block * block;
  }
  // What is left over, and ranges near the ends of float32.
  constexpr std::size_t kPart = 512;   // whole blocks of every width
  std::int32_t part[kPart];
  for (; done < x.size(); done += kPart) {
    const auto symbols = std::span(part).first(std::min(kPart, x.size() - done));
    targets::chosen().quantize_uniform(key, done, steps, x.data() + done, symbols.size(), part);
    pack(symbols, bits, bytes.subspan(done / 8 * bits, packed_bytes(symbols.size(), bits)));
  }
}

void accumulate_packed(std::span<const PackedUniform> frames, unsigned bits, std::span<double> sum) noexcept {
  const std::uint32_t levels = (1u << bits) - 1;
  const std::size_t block = 16 * (32 / bits);
  const std::size_t blocks = sum.size() / block;
  const auto rest = sum.subspan(blocks * block);
  while (!frames.empty()) {
    const auto some = frames.first(std::min(frames.size(), targets::kPackedFrames));
    targets::PackedUniform lines[targets::kPackedFrames];
    for (std::size_t f = 0; f < some.size(); ++f) {
      const double low = some[f].range.min;
      const double step = (static_cast<double>(some[f].range.max) - low) / levels;
      lines[f] = {some[f].bytes.data(), some[f].weight * low, some[f].weight * step};
    }
    targets::chosen().accumulate_packed(bits, lines, some.size(), blocks, sum.data());
    for (const PackedUniform& frame : some) {
      if (rest.empty()) break;
      std::int32_t part[512];
      const auto symbols = std::span(part).first(rest.size());
      unpack(frame.bytes.subspan(64 * blocks), bits, symbols);
      accumulate_uniform(frame.range, levels, symbols, frame.weight, rest);
    }
    frames = frames.subspan(some.size());
  }
}

std::uint16_t to_half(float value) noexcept { return reference::to_half(value); }
float from_half(std::uint16_t bits) noexcept { return reference::from_half(bits); }
std::uint16_t to_bfloat(float value) noexcept { return reference::to_bfloat(value); }
float from_bfloat(std::uint16_t bits) noexcept { return reference::from_bfloat(bits); }

bool to_halves(std::span<const float> x, std::span<std::int32_t> symbols) noexcept {
  return targets::chosen().to_halves(x.data(), x.size(), symbols.data());
}

bool to_bfloats(std::span<const float> x, std::span<std::int32_t> symbols) noexcept {
  return targets::chosen().to_bfloats(x.data(), x.size(), symbols.data());
}

void accumulate_halves(double weight, std::span<const std::int32_t> symbols, std::span<double> sum) noexcept {
  targets::chosen().accumulate_halves(weight, symbols.data(), symbols.size(), sum.data());
}

void accumulate_bfloats(double weight, std::span<const std::int32_t> symbols, std::span<double> sum) noexcept {
  targets::chosen().accumulate_bfloats(weight, symbols.data(), symbols.size(), sum.data());
}

void accumulate_floats(double weight, std::span<const std::int32_t> symbols, std::span<double> sum) noexcept {
  targets::chosen().accumulate_floats(weight, symbols.data(), symbols.size(), sum.data());
}

std::uint32_t largest_pattern(std::span<const std::int32_t> symbols, std::uint32_t mask) noexcept {
  return targets::chosen().largest_pattern(symbols.data(), symbols.size(), mask);
}

void count_symbols(std::span<const std::int32_t> symbols, std::span<std::uint32_t, 16> counts) noexcept {
  targets::chosen().count_symbols(symbols.data(), symbols.size(), counts.data());
}

double sum_of_squares(std::span<const float> x) noexcept { return targets::chosen().sum_of_squares(x.data(), x.size()); }
double sum_of_weighted_squares(std::span<const float> x, std::span<const double> weights) noexcept {
  return targets::chosen().sum_of_weighted_squares(x.data(), weights.data(), x.size());
}
void add_squares(std::span<const float> x, double factor, std::span<double> sums) noexcept {
  targets::chosen().add_squares(x.data(), factor, x.size(), sums.data());
}
double sum_of_magnitudes(std::span<const float> x) noexcept { return targets::chosen().sum_of_magnitudes(x.data(), x.size()); }

double sum_of_products(std::span<const float> x, std::span<const std::int32_t> symbols,
                       std::span<const double> points) noexcept {
  return targets::chosen().sum_of_products(x.data(), symbols.data(), x.size(), points.data());
}

void count_thresholds(std::span<const float> x, std::span<const float> thresholds,
                      std::span<std::int32_t> symbols) noexcept {
  targets::chosen().count_thresholds(x.data(), x.size(), thresholds.data(), thresholds.size(), symbols.data());
}

void accumulate_points(std::span<const double> points, std::span<const std::int32_t> symbols,
                       std::span<double> sum) noexcept {
  targets::chosen().accumulate_points(points.data(), symbols.data(), symbols.size(), sum.data());
}

void round_magnitudes(std::uint64_t key, std::size_t bucket, std::span<const double> slopes, std::span<const float> x,
                      std::span<std::int32_t> symbols) noexcept {
  targets::chosen().round_magnitudes(key, bucket, slopes.data(), x.data(), x.size(), symbols.data());
}

void round_to_steps(double slope, std::int32_t most, std::span<const float> x,
                    std::span<std::int32_t> symbols) noexcept {
  targets::chosen().round_to_steps(slope, most, x.data(), x.size(), symbols.data());
}

double sum_of_levels(std::span<const float> x, std::span<const std::int32_t> symbols) noexcept {
  return targets::chosen().sum_of_levels(x.data(), symbols.data(), x.size());
}

void accumulate_signed(double step, std::span<const std::int32_t> symbols, std::span<double> sum) noexcept {
  targets::chosen().accumulate_signed(step, symbols.data(), symbols.size(), sum.data());
}

std::size_t subset_scratch(std::size_t n) noexcept { return reference::subset_scratch(n); }

void subset(std::uint64_t key, std::size_t n, std::span<std::uint64_t> scratch,
            std::span<std::uint32_t> chosen) noexcept {
  reference::subset(key, n, scratch, chosen);
}

std::size_t largest_scratch(std::size_t n, std::size_t k) noexcept { return targets::chosen().largest_scratch(n, k); }

void largest(std::span<const float> x, std::span<std::uint32_t> scratch, std::span<std::uint32_t> chosen) noexcept {
  if (!targets::chosen().largest(x.data(), x.size(), chosen.size(), scratch.data(), chosen.data()))
    reference::largest(x, chosen);
}

}  // namespace fewbits::kernels
