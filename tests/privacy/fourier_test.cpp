#include "privacy/fourier.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

namespace fewbits::privacy {
namespace {

std::vector<Complex> some(std::size_t n) {
  std::vector<Complex> x(n);
  for (std::size_t i = 0; i < n; ++i)
    x[i] = {std::sin(1.0 + 3.7 * static_cast<double>(i * i % 1009)), std::cos(0.3 * static_cast<double>(i))};
  return x;
}

std::size_t reversed(std::size_t i, std::size_t n) {
  std::size_t r = 0;
  for (; n > 1; n /= 2, i /= 2) r = 2 * r + i % 2;
  return r;
}

TEST(Fourier, IsTheSumOfItsDefinition) {
  for (const std::size_t n : {1, 2, 4, 8, 64, 512}) {
    const std::vector<Complex> x = some(n);
    std::vector<Complex> y = x;
    const Fourier fourier(n);
    fourier.forward(y.data());
    for (std::size_t k = 0; k < n; ++k) {
      Complex sum;
      for (std::size_t i = 0; i < n; ++i) {
        const double angle = -2 * std::numbers::pi * static_cast<double>(i * k % n) / static_cast<double>(n);
        sum = sum + x[i] * Complex{std::cos(angle), std::sin(angle)};
      }
      EXPECT_NEAR(y[reversed(k, n)].re, sum.re, 1e-11);
      EXPECT_NEAR(y[reversed(k, n)].im, sum.im, 1e-11);
      EXPECT_EQ(Fourier::mirror(reversed(k, n)), reversed((n - k) % n, n));
    }
    fourier.inverse(y.data());
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_NEAR(y[i].re, x[i].re, 1e-14 * 10);
      EXPECT_NEAR(y[i].im, x[i].im, 1e-14 * 10);
    }
  }
}

TEST(Fourier, LongOnesComeBack) {
  const std::size_t n = 1 << 17;
  const std::vector<Complex> x = some(n);
  std::vector<Complex> y = x;
  const Fourier fourier(n);
  fourier.forward(y.data());
  fourier.inverse(y.data());
  double worst = 0;
  for (std::size_t i = 0; i < n; ++i) worst = std::max(worst, std::hypot(y[i].re - x[i].re, y[i].im - x[i].im));
  EXPECT_LT(worst, 1e-14);
}

}  // namespace
}  // namespace fewbits::privacy
