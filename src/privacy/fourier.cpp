#include "privacy/fourier.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace fewbits::privacy {

Fourier::Fourier(std::size_t size) : size_(size), roots_(size) {
  for (std::size_t k = 0; k < size / 2; ++k) {
    const double angle = -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(size);
    roots_[size / 2 + k] = {std::cos(angle), std::sin(angle)};
  }
  for (std::size_t n = size / 2; n >= 2; n /= 2)
    for (std::size_t k = 0; k < n / 2; ++k) roots_[n / 2 + k] = roots_[n + 2 * k];
}

// Halves of halves, so that all but the first passes are in the cache.
void Fourier::forward(Complex* x, std::size_t n) const noexcept {
  if (n < 2) return;
  const Complex* roots = &roots_[n / 2];
  for (std::size_t k = 0; k < n / 2; ++k) {
    const Complex a = x[k], b = x[k + n / 2];
    x[k] = a + b;
    x[k + n / 2] = (a - b) * roots[k];
  }
  forward(x, n / 2);
  forward(x + n / 2, n / 2);
}

void Fourier::inverse(Complex* x, std::size_t n) const noexcept {
  if (n < 2) return;
  inverse(x, n / 2);
  inverse(x + n / 2, n / 2);
  const Complex* roots = &roots_[n / 2];
  for (std::size_t k = 0; k < n / 2; ++k) {
    const Complex a = x[k], b = x[k + n / 2] * conjugate(roots[k]);
    x[k] = a + b;
    x[k + n / 2] = a - b;
  }
}

void Fourier::inverse(Complex* x) const noexcept {
  inverse(x, size_);
  const double scale = 1 / static_cast<double>(size_);
  for (std::size_t k = 0; k < size_; ++k) x[k] = {x[k].re * scale, x[k].im * scale};
}

// Frequencies whose reversed bits have the same highest one have the same number of trailing zeros: -k differs from k in all
// bits above the lowest that is set.
std::size_t Fourier::mirror(std::size_t i) noexcept {
  if (i < 2) return i;
  const std::size_t top = std::bit_floor(i);
  return 3 * top - 1 - i;
}

}  // namespace fewbits::privacy
