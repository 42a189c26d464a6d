#pragma once

#include <span>
#include <vector>

#include "fewbits/federated/model.h"

namespace fewbits::federated {

// Linear support vector machines, one for each class against the rest (Rifkin, Klautau 2004, "In defense of one-vs-all
// classification"): scores x W + b, where class c should have at least 1 on its own examples and at most -1 on others.
// Loss: mean over rows of the sum over classes of max(0, 1 - s score), s = +-1, plus l2 / 2 |W|^2. Starts at zero.
// Tensors "svm.weight" [features, classes] and "svm.bias" [classes].
class SupportVector final : public Model {
 public:
  SupportVector(std::size_t features, std::size_t classes, double l2);

  const Layout& layout() const noexcept override { return layout_; }
  void initialize(std::uint64_t seed, std::span<float> parameters) const override;
  double loss_and_gradient(std::span<const float> parameters, const Examples& batch,
                           std::span<float> gradient) override;
  Score score(std::span<const float> parameters, const Examples& examples) override;

 private:
  std::size_t weights() const { return layout_.offset(1); }
  void forward(std::span<const float> parameters, const Examples& examples);

  std::size_t classes_;
  double l2_;
  Layout layout_;
  std::vector<float> scores_;  // [rows, classes], then the loss's derivative by them
};

}  // namespace fewbits::federated
