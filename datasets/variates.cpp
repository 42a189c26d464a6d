#include "datasets/variates.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fewbits::datasets {
namespace {

// ln 2 in two parts, so that its multiples up to 2^11 lose nothing (fdlibm's constants).
constexpr double kLn2High = 6.93147180369123816490e-01;
constexpr double kLn2Low = 1.90821492927058770002e-10;

}  // namespace

double portable_log(double x) noexcept {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // [1/2, 1)
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  // ln m = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.1716: the term after s^23 is below 2^-60 of the first.
  const double s = (m - 1) / (m + 1);
  const double s2 = s * s;
  double series = 0;
  for (int k = 23; k >= 3; k -= 2) series = (series + 1.0 / k) * s2;
  return exponent * kLn2High + (2 * s + (2 * s * series + exponent * kLn2Low));
}

double portable_exp(double x) noexcept {
  if (x < -708) return 0;
  const double k = std::floor(x / (kLn2High + kLn2Low) + 0.5);
  const double r = (x - k * kLn2High) - k * kLn2Low;  // |r| < 0.347: the term after r^14 is below 2^-60
  double series = 1;
  for (int i = 14; i >= 1; --i) series = 1 + series * r / i;
  return std::ldexp(series, static_cast<int>(k));
}

double NormalReader::next() noexcept {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  for (;;) {
    const double u = 2 * random_.uniform() - 1;
    const double v = 2 * random_.uniform() - 1;
    const double s = u * u + v * v;
    if (s >= 1 || s == 0) continue;
    const double scale = std::sqrt(-2 * portable_log(s) / s);
    spare_ = v * scale;
    has_spare_ = true;
    return u * scale;
  }
}

double log_gamma_variate(RandomReader& random, NormalReader& normal, double shape) noexcept {
  double boost = 0;
  if (shape < 1) {
    boost = portable_log(1 - random.uniform()) / shape;
    shape += 1;
  }
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = normal.next();
    const double root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    const double u = 1 - random.uniform();
    if (portable_log(u) < 0.5 * x * x + d - d * v + d * portable_log(v)) return boost + portable_log(d * v);
  }
}

std::vector<double> dirichlet_variate(RandomReader& random, const std::vector<double>& parameters) {
  NormalReader normal(random);
  std::vector<double> draw(parameters.size());
  double largest = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < draw.size(); ++i) {
    draw[i] = parameters[i] > 0 ? log_gamma_variate(random, normal, parameters[i])
                                : -std::numeric_limits<double>::infinity();
    largest = std::max(largest, draw[i]);
  }
  double sum = 0;
  for (double& value : draw) sum += value = portable_exp(value - largest);
  for (double& value : draw) value /= sum;
  return draw;
}

}  // namespace fewbits::datasets
