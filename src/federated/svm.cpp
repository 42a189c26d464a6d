#include "federated/svm.h"

#include <algorithm>

#include "federated/affine.h"
#include "federated/correct.h"
#include "federated/penalty.h"

namespace fewbits::federated {
namespace {

// Mean over rows of the hinge losses; scores become its derivative by them.
double hinge_loss(std::span<const float> labels, std::size_t classes, std::span<float> scores) {
  const float scale = 1 / static_cast<float>(labels.size());
  double loss = 0;
  for (std::size_t row = 0; row < labels.size(); ++row) {
    for (std::size_t c = 0; c < classes; ++c) {
      float& score = scores[row * classes + c];
      const float sign = static_cast<std::size_t>(labels[row]) == c ? 1.0f : -1.0f;
      const float missing = 1 - sign * score;
      const bool inside = missing <= 0;  // a NaN is not, and the loss is NaN
      if (!inside) loss += static_cast<double>(missing);
      score = inside ? 0 : -sign * scale;
    }
  }
  return loss / static_cast<double>(labels.size());
}

}  // namespace

SupportVector::SupportVector(std::size_t features, std::size_t classes, double l2)
    : classes_(classes),
      l2_(l2),
      layout_(std::vector<Tensor>{{"svm.weight", {features, classes}}, {"svm.bias", {classes}}}) {}

void SupportVector::initialize(std::uint64_t, std::span<float> parameters) const {
  std::fill(parameters.begin(), parameters.end(), 0.0f);
}

double SupportVector::loss_and_gradient(std::span<const float> parameters, const Examples& batch,
                                        std::span<float> gradient) {
  forward(parameters, batch);
  const double loss = hinge_loss(batch.y, classes_, scores_);
  const std::span<const float> weight = parameters.first(weights());
  affine_gradient(batch.x.data(), batch.y.size(), weight, scores_.data(), gradient.first(weights()),
                  gradient.subspan(weights()), nullptr);
  return loss + penalize(l2_, weight, gradient.first(weights()));
}

Score SupportVector::score(std::span<const float> parameters, const Examples& examples) {
  forward(parameters, examples);
  return {static_cast<double>(count_correct(examples.y, classes_, scores_.data())),
          static_cast<double>(examples.y.size())};
}

void SupportVector::forward(std::span<const float> parameters, const Examples& examples) {
  scores_.resize(examples.y.size() * classes_);
  affine(examples.x.data(), examples.y.size(), parameters.first(weights()), parameters.subspan(weights()),
         scores_.data());
}

}  // namespace fewbits::federated
