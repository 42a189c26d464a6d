// Writes codecs/tcq.inc:
//   g++ -std=c++20 -O2 -ffp-contract=off -I src -I include tools/tcq_levels.cpp src/kernels/trellis.cpp -o tcq_levels
//   ./tcq_levels > codecs/tcq.inc
// Lloyd's iteration with the trellis search in place of the nearest level (Marcellin and Fischer 1990): normal values
// are quantized, and each level moves to the mean of the values that took it or, with the other sign, its mirror image.
#include <cmath>
#include <cstdio>
#include <numbers>
#include <random>
#include <vector>

#include "kernels/trellis.h"

int main() {
  constexpr std::size_t kValues = 1 << 18;
  constexpr int kIterations = 40;
  constexpr double kOne = 65536;
  std::mt19937_64 random(1990);
  const auto uniform = [&] { return (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53; };
  std::vector<double> x(kValues);
  for (double& value : x) value = std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::numbers::pi * uniform());
  std::vector<std::int32_t> places(kValues), points(kValues);
  for (std::size_t i = 0; i < kValues; ++i) places[i] = static_cast<std::int32_t>(std::lrint(x[i] * kOne));
  std::puts("// Written by tools/tcq_levels.cpp.");
  std::puts("// Positive levels of fixed-rate trellises, from the least, in units of 2^-16.");
  for (const unsigned states : {8u, 64u, 256u})
    for (unsigned bits = 1; bits <= 4; ++bits) {
      const std::size_t size = std::size_t{2} << bits;
      std::vector<double> levels(size);
      // Where the density that is right for many levels, that of N(0, 3), has its quantiles.
      for (std::size_t j = 0; j < size; ++j) {
        const double p = (static_cast<double>(j) + 0.5) / static_cast<double>(size);
        double low = -9, high = 9;
        for (int step = 0; step < 60; ++step) {
          const double middle = (low + high) / 2;
          (std::erfc(-middle / std::sqrt(6.0)) / 2 < p ? low : high) = middle;
        }
        levels[j] = low;
      }
      std::vector<std::byte> scratch(fewbits::trellis_scratch(states, kValues));
      std::vector<std::int32_t> rounded(size);
      double error = 0;
      for (int iteration = 0; iteration <= kIterations; ++iteration) {
        for (std::size_t j = 0; j < size; ++j) rounded[j] = static_cast<std::int32_t>(std::lrint(levels[j] * kOne));
        fewbits::trellis_search(fewbits::trellis_code(states), places, rounded, scratch, points);
        std::vector<double> sum(size), count(size);
        double energy = 0, along = 0, own = 0;
        for (std::size_t i = 0; i < kValues; ++i) {
          const auto k = static_cast<std::size_t>(points[i]);
          const double q = rounded[k] / kOne;
          sum[k] += x[i];
          ++count[k];
          energy += x[i] * x[i];
          along += x[i] * q;
          own += q * q;
        }
        error = energy * own / (along * along) - 1;
        if (iteration == kIterations) break;
        for (std::size_t j = 0; j < size; ++j) {
          const std::size_t mirror = size - 1 - j;
          if (count[j] + count[mirror] > 0) levels[j] = (sum[j] - sum[mirror]) / (count[j] + count[mirror]);
        }
      }
      std::fprintf(stderr, "%u states, %u bits: %.5f\n", states, bits, error);
      std::printf("// %u states, %u bits\n", states, bits);
      for (std::size_t j = size / 2; j < size; ++j)
        std::printf("%d,%s", rounded[j], j + 1 == size || (j - size / 2) % 12 == 11 ? "\n" : " ");
    }
}
