#include "federated/linear.h"

#include <algorithm>

#include "federated/penalty.h"

namespace fewbits::federated {
namespace {

Layout linear_layout(std::size_t weights) {
  return Layout(std::vector<Tensor>{{"linear.weight", {weights, 1}}, {"linear.bias", {1}}});
}

}  // namespace

Linear::Linear(const ExampleShape& shape, double l2)
    : features_(shape.features),
      columns_(shape.tokens > 0),
      l2_(l2),
      layout_(linear_layout(columns_ ? shape.tokens : shape.features)) {}

void Linear::initialize(std::uint64_t, std::span<float> parameters) const {
  std::fill(parameters.begin(), parameters.end(), 0.0f);
}

double Linear::loss_and_gradient(std::span<const float> parameters, const Examples& batch, std::span<float> gradient) {
  std::fill(gradient.begin(), gradient.end(), 0.0f);
  const std::size_t rows = batch.y.size();
  double squares = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const double off = error(parameters, batch, row);
    squares += off * off;
    const auto derivative = static_cast<float>(off / static_cast<double>(rows));
    const float* x = batch.x.data() + row * features_;
    if (columns_) {
      for (std::size_t i = 0; i < features_; ++i) gradient[static_cast<std::size_t>(x[i])] += derivative;
    } else {
      for (std::size_t i = 0; i < features_; ++i) gradient[i] += derivative * x[i];
    }
    gradient.back() += derivative;
  }
  const std::size_t weights = parameters.size() - 1;
  return squares / static_cast<double>(rows) / 2 + penalize(l2_, parameters.first(weights), gradient.first(weights));
}

Score Linear::score(std::span<const float> parameters, const Examples& examples) {
  Score score{.weight = static_cast<double>(examples.y.size())};
  for (std::size_t row = 0; row < examples.y.size(); ++row) {
    const double off = error(parameters, examples, row);
    score.sum += off * off;
  }
  return score;
}

double Linear::error(std::span<const float> parameters, const Examples& examples, std::size_t row) const {
  const float* x = examples.x.data() + row * features_;
  double sum = static_cast<double>(parameters.back()) - static_cast<double>(examples.y[row]);
  for (std::size_t i = 0; i < features_; ++i) {
    sum += columns_ ? static_cast<double>(parameters[static_cast<std::size_t>(x[i])])
                    : static_cast<double>(x[i]) * static_cast<double>(parameters[i]);
  }
  return sum;
}

}  // namespace fewbits::federated
