#include "federated/pca.h"

#include <algorithm>
#include <cmath>

#include "federated/initialize.h"
#include "fewbits/error.h"

namespace fewbits::federated {
namespace {

void divide(std::span<double> values, double by) {
  for (double& value : values) value /= by;
}

// Leaves zeros as they are.
void normalize(std::span<double> values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  if (squares != 0) divide(values, std::sqrt(squares));
}

}  // namespace

PrincipalAxis::PrincipalAxis(std::size_t features)
    : features_(features), layout_(std::vector<Tensor>{{"mean", {features}}, {"axis", {features}}}) {}

void PrincipalAxis::initialize(std::uint64_t seed, std::span<float> parameters) const {
  normal_initialize(layout_, 1, seed, 1, parameters);
  std::vector<double> axis(parameters.begin() + static_cast<std::ptrdiff_t>(features_), parameters.end());
  normalize(axis);
  for (std::size_t i = 0; i < features_; ++i) {
    parameters[i] = 0;
    parameters[features_ + i] = static_cast<float>(axis[i]);
  }
}

double PrincipalAxis::loss_and_gradient(std::span<const float>, const Examples&, std::span<float>) {
  throw Error(Errc::kBadArgument, "a principal axis is found by power iteration, not by descent along a gradient");
}

Score PrincipalAxis::score(std::span<const float> parameters, const Examples& examples) {
  point(parameters);
  Score score;
  for (std::size_t begin = 0; begin < examples.x.size(); begin += features_) {
    const auto [along, square] = split(examples.x.data() + begin);
    score.sum += along * along;
    score.weight += square;
  }
  return score;
}

double PrincipalAxis::improve(std::span<float> parameters, const Examples& examples) {
  point(parameters);
  std::vector<double> sums(features_), turned(features_);
  double residual = 0;
  for (std::size_t begin = 0; begin < examples.x.size(); begin += features_) {
    const float* x = examples.x.data() + begin;
    const auto [along, square] = split(x);
    residual += square - along * along;
    for (std::size_t i = 0; i < features_; ++i) {
      sums[i] += static_cast<double>(x[i]);
      turned[i] += along * (static_cast<double>(x[i]) - mean_[i]);
    }
  }
  const double rows = static_cast<double>(examples.x.size() / features_);
  for (std::size_t i = 0; i < features_; ++i) {
    parameters[i] = static_cast<float>(sums[i] / rows);
    parameters[features_ + i] = static_cast<float>(turned[i] / rows);
  }
  return residual / rows;
}

void PrincipalAxis::point(std::span<const float> parameters) {
  mean_.assign(parameters.begin(), parameters.begin() + static_cast<std::ptrdiff_t>(features_));
  unit_.assign(parameters.begin() + static_cast<std::ptrdiff_t>(features_), parameters.end());
  normalize(unit_);
}

PrincipalAxis::Parts PrincipalAxis::split(const float* x) const {
  Parts parts{};
  for (std::size_t i = 0; i < features_; ++i) {
    const double apart = static_cast<double>(x[i]) - mean_[i];
    parts.along += apart * unit_[i];
    parts.square += apart * apart;
  }
  return parts;
}

}  // namespace fewbits::federated
