#pragma once

#include <memory>
#include <span>
#include <vector>

#include "fewbits/federated/model.h"

namespace fewbits::federated {

// Centres of clusters by Lloyd's iteration, as in Suresh et al. 2017, arXiv 1611.00429, in the experiments: `improve`
// is one step on a client's examples, each of which goes to its nearest centre (to the first of several), and a centre
// to the mean of its own; one without examples stays. Loss and metric: the mean squared distance to the nearest centre.
// Tensor "centres" [clusters, features].
class KMeans final : public Model {
 public:
  // `sample` has shape [at least clusters, features].
  KMeans(std::size_t features, std::size_t clusters, std::shared_ptr<const std::vector<float>> sample);

  const Layout& layout() const noexcept override { return layout_; }

  // k-means++ on the sample (Arthur, Vassilvitskii 2007, "k-means++: the advantages of careful seeding", section 2.2):
  // each next centre is an example drawn with chances as its squared distances to the nearest centre so far.
  void initialize(std::uint64_t seed, std::span<float> parameters) const override;

  double loss_and_gradient(std::span<const float>, const Examples&, std::span<float>) override;  // throws kBadArgument
  Score score(std::span<const float> parameters, const Examples& examples) override;
  Metric metric() const noexcept override { return {.name = "distance", .higher_is_better = false, .root = false}; }
  bool descends() const noexcept override { return false; }
  double improve(std::span<float> parameters, const Examples& examples) override;

 private:
  double assign(std::span<const float> centres, std::span<const float> x);

  std::size_t features_;
  std::size_t clusters_;
  std::shared_ptr<const std::vector<float>> sample_;
  Layout layout_;
  std::vector<float> products_;       // [rows, clusters]: of examples and centres
  std::vector<std::size_t> nearest_;  // [rows]
};

}  // namespace fewbits::federated
