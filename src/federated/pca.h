#pragma once

#include <span>
#include <vector>

#include "fewbits/federated/model.h"

namespace fewbits::federated {

// The first principal axis by power iteration, as in Suresh et al. 2017, arXiv 1611.00429, in the experiments.
// `improve` turns axis into C axis / |axis|, where C is the covariance of the client's examples around the mean that
// came in, and mean into theirs; averaged by numbers of examples, both are what one step on all examples together
// gives. Loss: the mean squared distance to the line through the mean along the axis. Metric: the share of the
// examples' variance around the mean that lies along the axis; an axis of length 0 has none. Tensors "mean" [features],
// which starts at 0, and "axis" [features], which starts in a random direction at length 1.
class PrincipalAxis final : public Model {
 public:
  explicit PrincipalAxis(std::size_t features);

  const Layout& layout() const noexcept override { return layout_; }
  void initialize(std::uint64_t seed, std::span<float> parameters) const override;
  double loss_and_gradient(std::span<const float>, const Examples&, std::span<float>) override;  // throws kBadArgument
  Score score(std::span<const float> parameters, const Examples& examples) override;
  Metric metric() const noexcept override { return {.name = "variance"}; }
  bool descends() const noexcept override { return false; }
  double improve(std::span<float> parameters, const Examples& examples) override;

 private:
  struct Parts {
    double along;  // the part of x - mean along the axis
    double square;  // |x - mean|^2
  };
  void point(std::span<const float> parameters);
  Parts split(const float* x) const;

  std::size_t features_;
  Layout layout_;
  std::vector<double> mean_;  // [features], of the parameters in use
  std::vector<double> unit_;  // [features]: axis / |axis|
};

}  // namespace fewbits::federated
