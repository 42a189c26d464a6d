#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/random.h"

// Random variates from the project's generator. Logarithm and exponential are our own, of additions, products and
// quotients only: libm's last bit differs between machines, and a partition must not.
namespace fewbits::datasets {

double portable_log(double x) noexcept;  // x > 0, finite; within 2 ulp
double portable_exp(double x) noexcept;  // 0 below -708; x <= 709

// Standard normal: the polar method (Marsaglia, Bray 1964, "A convenient method for generating normal variables").
class NormalReader {
 public:
  explicit NormalReader(RandomReader& random) noexcept : random_(random) {}
  double next() noexcept;

 private:
  RandomReader& random_;
  double spare_ = 0;
  bool has_spare_ = false;
};

// Logarithm of a Gamma(shape, 1) variate, shape > 0 (Marsaglia, Tsang 2000, "A simple method for generating gamma
// variables"; below shape 1 by their section 6). The logarithm, since small shapes underflow.
double log_gamma_variate(RandomReader& random, NormalReader& normal, double shape) noexcept;

// One draw of the Dirichlet distribution: gamma variates divided by their sum. Entries with parameter 0 are 0; at least
// one parameter is positive.
std::vector<double> dirichlet_variate(RandomReader& random, const std::vector<double>& parameters);

// Uniform permutation (Fisher-Yates, from the end).
template <typename T>
void shuffle(RandomReader& random, std::vector<T>& items) {
  for (std::size_t i = items.size(); i > 1; --i) {
    std::swap(items[i - 1], items[static_cast<std::size_t>(random.below(i))]);
  }
}

}  // namespace fewbits::datasets
