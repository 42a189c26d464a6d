#include "kernels/kernels.h"

#include "kernels/reference.h"
#include "kernels/targets.h"

namespace fewbits::kernels {

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
  reference::quantize_uniform(key, first, range, levels, x, symbols);
}

void accumulate_uniform(Range range, std::uint32_t levels, std::span<const std::int32_t> symbols, double weight,
                        std::span<double> sum) noexcept {
  reference::accumulate_uniform(range, levels, symbols, weight, sum);
}

std::size_t packed_bytes(std::size_t count, unsigned bits) noexcept { return reference::packed_bytes(count, bits); }

void pack(std::span<const std::int32_t> symbols, unsigned bits, std::span<std::byte> bytes) noexcept {
  reference::pack(symbols, bits, bytes);
}

bool unpack(std::span<const std::byte> bytes, unsigned bits, std::span<std::int32_t> symbols) noexcept {
  return reference::unpack(bytes, bits, symbols);
}

std::uint16_t to_half(float value) noexcept { return reference::to_half(value); }
float from_half(std::uint16_t bits) noexcept { return reference::from_half(bits); }
std::uint16_t to_bfloat(float value) noexcept { return reference::to_bfloat(value); }
float from_bfloat(std::uint16_t bits) noexcept { return reference::from_bfloat(bits); }

double sum_of_squares(std::span<const float> x) noexcept { return reference::sum_of_squares(x); }
double sum_of_magnitudes(std::span<const float> x) noexcept { return reference::sum_of_magnitudes(x); }

double sum_of_products(std::span<const float> x, std::span<const std::int32_t> symbols,
                       std::span<const double> points) noexcept {
  return reference::sum_of_products(x, symbols, points);
}

void count_thresholds(std::span<const float> x, std::span<const float> thresholds,
                      std::span<std::int32_t> symbols) noexcept {
  reference::count_thresholds(x, thresholds, symbols);
}

void accumulate_points(std::span<const double> points, std::span<const std::int32_t> symbols,
                       std::span<double> sum) noexcept {
  reference::accumulate_points(points, symbols, sum);
}

void round_magnitudes(std::uint64_t key, std::size_t bucket, std::span<const double> slopes, std::span<const float> x,
                      std::span<std::int32_t> symbols) noexcept {
  reference::round_magnitudes(key, bucket, slopes, x, symbols);
}

void round_to_steps(double slope, std::int32_t most, std::span<const float> x,
                    std::span<std::int32_t> symbols) noexcept {
  reference::round_to_steps(slope, most, x, symbols);
}

double sum_of_levels(std::span<const float> x, std::span<const std::int32_t> symbols) noexcept {
  return reference::sum_of_levels(x, symbols);
}

void accumulate_signed(double step, std::span<const std::int32_t> symbols, std::span<double> sum) noexcept {
  reference::accumulate_signed(step, symbols, sum);
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
