#pragma once

#include <cstddef>
#include <vector>

namespace fewbits::privacy {

// std::complex multiplies with a check for NaN that takes most of its time.
struct Complex {
  double re = 0;
  double im = 0;
};

inline Complex operator*(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
inline Complex conjugate(Complex a) { return {a.re, -a.im}; }

// Discrete Fourier transforms of one length, a power of two: Cooley and Tukey's, whose forward transform leaves the order of
// reversed bits and whose inverse takes it. Products of spectra need no other.
class Fourier {
 public:
  explicit Fourier(std::size_t size);

  std::size_t size() const noexcept { return size_; }
  void forward(Complex* x) const noexcept { forward(x, size_); }
  void inverse(Complex* x) const noexcept;

  // Where the conjugate of place `i` is in the spectrum of a real vector.
  static std::size_t mirror(std::size_t i) noexcept;

 private:
  void forward(Complex* x, std::size_t n) const noexcept;
  void inverse(Complex* x, std::size_t n) const noexcept;

  std::size_t size_;
  std::vector<Complex> roots_;  // exp(-2 pi i k / n) at n/2 + k, for each n = 2, 4, ..., size and k < n/2
};

}  // namespace fewbits::privacy
