#pragma once

#include <span>

#include "fewbits/federated/model.h"

namespace fewbits::federated {

// Linear regression of one real value: x w + b, with the mean over rows of half the squared error plus l2 / 2 |w|^2 as
// loss; starts at zero. Where the features are numbers of one-hot columns (shape.tokens > 0), x w is the sum of their
// weights, and a weight that no row of a batch names has the gradient of the penalty alone.
// Tensors "linear.weight" [features, or columns, 1] and "linear.bias" [1].
class Linear final : public Model {
 public:
  Linear(const ExampleShape& shape, double l2);

  const Layout& layout() const noexcept override { return layout_; }
  void initialize(std::uint64_t seed, std::span<float> parameters) const override;
  double loss_and_gradient(std::span<const float> parameters, const Examples& batch,
                           std::span<float> gradient) override;
  Score score(std::span<const float> parameters, const Examples& examples) override;
  Metric metric() const noexcept override { return {.name = "rmse", .higher_is_better = false, .root = true}; }

 private:
  double error(std::span<const float> parameters, const Examples& examples, std::size_t row) const;

  std::size_t features_;
  bool columns_;
  double l2_;
  Layout layout_;
};

}  // namespace fewbits::federated
