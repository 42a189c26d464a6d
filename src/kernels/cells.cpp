#include "kernels/cells.h"

#include <array>
#include <cmath>

#include "kernels/powers.h"

namespace fewbits {
namespace {

constexpr std::size_t kEntries = 2 * kCdfHalf + 1;
using Table = std::array<std::uint32_t, kEntries>;

// e^-a for a ≥ 0, within 2^-45: the series of a/2^16, squared 16 times.
double exponential(double a) noexcept {
  if (a > 600) return 0;
  const double small = a * 0x1p-16;
  double value = 1 - small * (1 - small / 2 * (1 - small / 3 * (1 - small / 4)));
  for (int i = 0; i < 16; ++i) value *= value;
  return value;
}

constexpr double kInverseRootTwoPi = 0x1.9884533d43651p-2;

// The normal distribution function less 1/2, for z ≥ 0 (Abramowitz and Stegun 26.2.11).
double normal_above_half(double z) noexcept {
  if (z > 7) return 0.5;
  const double square = z * z;
  double term = z;
  double sum = z;
  for (int n = 3; term > sum * 0x1p-53; n += 2) {
    term *= square / n;
    sum += term;
  }
  return std::min(0.5, sum * kInverseRootTwoPi * exponential(square / 2));
}

// Shape k mixes normal distributions whose logarithms of the standard deviation are spread by kSpread[k]/32 octaves a
// node, over nine nodes with the weights of a normal density at −2, −3/2, …, 2.
constexpr int kSpread[kShapes] = {0, 5, 9, 13, 18, 24, 32};
constexpr int kNodes = 9;
constexpr double kWeights[kNodes] = {0x1.bc5p-6, 0x1.0cap-4, 0x1.f39p-4, 0x1.69ap-3, 0x1.9adp-3,
                                     0x1.69ap-3, 0x1.f39p-4, 0x1.0cap-4, 0x1.bc5p-6};

Table make_table(int shape) noexcept {
  double mass = 0;
  double variance = 0;
  for (int node = 0; node < kNodes; ++node) {
    mass += kWeights[node];
    variance += kWeights[node] * power32(2 * (node - kNodes / 2) * kSpread[shape]);
  }
  const double deviation = std::sqrt(variance / mass);
  Table table{};
  for (int i = 0; i <= kCdfHalf; ++i) {
    const double z = static_cast<double>(i) / kCdfPerUnit * deviation;
    double above = 0;
    for (int node = 0; node < kNodes; ++node) {
      if (kSpread[shape] == 0 && node != kNodes / 2) continue;
      const double share = kSpread[shape] == 0 ? 1.0 : kWeights[node] / mass;
      above += share * normal_above_half(z * power32((kNodes / 2 - node) * kSpread[shape]));
    }
    const auto units = static_cast<std::uint32_t>(above * (1u << kCdfBits) + 0.5);
    const std::uint32_t half = 1u << (kCdfBits - 1);
    table[static_cast<std::size_t>(kCdfHalf + i)] = i == kCdfHalf ? 2 * half : half + units;
    table[static_cast<std::size_t>(kCdfHalf - i)] = i == kCdfHalf ? 0 : half - units;
  }
  return table;
}

struct Shape {
  Table table;
  std::array<float, 1u << kInverseBits> quantiles;

  explicit Shape(int shape) noexcept : table(make_table(shape)) {
    std::size_t entry = 0;
    for (std::size_t i = 0; i < quantiles.size(); ++i) {
      const auto middle = static_cast<std::uint32_t>((2 * i + 1) << (kCdfBits - kInverseBits - 1));
      while (table[entry] < middle) ++entry;
      quantiles[i] = static_cast<float>(static_cast<int>(entry) - kCdfHalf);
    }
  }
};

template <int kShape>
const Shape& made() noexcept {
  static const Shape shape(kShape);
  return shape;
}

const Shape& shape_of(int shape) noexcept {
  static constexpr const Shape& (*kMade[kShapes])() noexcept = {made<0>, made<1>, made<2>, made<3>, made<4>, made<5>, made<6>};
  return kMade[shape]();
}

}  // namespace

const std::uint32_t* distribution(int shape) noexcept { return shape_of(shape).table.data(); }
const float* quantiles(int shape) noexcept { return shape_of(shape).quantiles.data(); }

}  // namespace fewbits
