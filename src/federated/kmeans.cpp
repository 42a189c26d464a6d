#include "federated/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "federated/blas.h"
#include "fewbits/error.h"
#include "kernels/random.h"

namespace fewbits::federated {
namespace {

double squared_distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double apart = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += apart * apart;
  }
  return sum;
}

// The index drawn with chances as the weights; the last where all are 0.
std::size_t draw(RandomReader& random, std::span<const double> weights) {
  double sum = 0;
  for (const double weight : weights) sum += weight;
  double left = random.uniform() * sum;
  for (std::size_t i = 0; i + 1 < weights.size(); ++i) {
    if (left < weights[i]) return i;
    left -= weights[i];
  }
  return weights.size() - 1;
}

}  // namespace

KMeans::KMeans(std::size_t features, std::size_t clusters, std::shared_ptr<const std::vector<float>> sample)
    : features_(features),
      clusters_(clusters),
      sample_(std::move(sample)),
      layout_(std::vector<Tensor>{{"centres", {clusters, features}}}) {}

void KMeans::initialize(std::uint64_t seed, std::span<float> parameters) const {
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kInitialModel), seed, 0}));
  const std::size_t rows = sample_->size() / features_;
  const auto row = [&](std::size_t i) { return std::span(*sample_).subspan(i * features_, features_); };
  std::vector<double> distances(rows, std::numeric_limits<double>::max());
  auto chosen = static_cast<std::size_t>(random.below(rows));
  for (std::size_t c = 0; c < clusters_; ++c) {
    if (c > 0) chosen = draw(random, distances);
    std::ranges::copy(row(chosen), parameters.begin() + static_cast<std::ptrdiff_t>(c * features_));
    for (std::size_t i = 0; i < rows; ++i) distances[i] = std::min(distances[i], squared_distance(row(i), row(chosen)));
  }
}

double KMeans::loss_and_gradient(std::span<const float>, const Examples&, std::span<float>) {
  throw Error(Errc::kBadArgument, "k-means is trained by steps of Lloyd's, not by descent along a gradient");
}

Score KMeans::score(std::span<const float> parameters, const Examples& examples) {
  return {assign(parameters, examples.x), static_cast<double>(examples.x.size() / features_)};
}

double KMeans::improve(std::span<float> parameters, const Examples& examples) {
  const double distances = assign(parameters, examples.x);
  std::vector<double> sums(parameters.size());
  std::vector<std::size_t> counts(clusters_);
  for (std::size_t row = 0; row < nearest_.size(); ++row) {
    const float* x = examples.x.data() + row * features_;
    double* sum = sums.data() + nearest_[row] * features_;
    for (std::size_t i = 0; i < features_; ++i) sum[i] += static_cast<double>(x[i]);
    ++counts[nearest_[row]];
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::size_t count = counts[i / features_];
    if (count > 0) parameters[i] = static_cast<float>(sums[i] / static_cast<double>(count));
  }
  return distances / static_cast<double>(nearest_.size());
}

// Fills nearest_; the sum of the squared distances. |x - c|^2 / 2 = |x|^2 / 2 - x c + |c|^2 / 2, the first of which is
// the same for all centres. Its rounding may confuse centres that are as good as equally near; distances are taken
// afterwards, without it.
double KMeans::assign(std::span<const float> centres, std::span<const float> x) {
  const std::size_t rows = x.size() / features_;
  products_.resize(rows * clusters_);
  nearest_.resize(rows);
  {
    const auto n = static_cast<Eigen::Index>(rows), k = static_cast<Eigen::Index>(clusters_);
    const auto features = static_cast<Eigen::Index>(features_);
    const auto lock = product_lock();
    Matrix(products_.data(), n, k).noalias() =
        ConstMatrix(x.data(), n, features) * ConstMatrix(centres.data(), k, features).transpose();
  }
  std::vector<double> half_norms(clusters_);
  for (std::size_t i = 0; i < centres.size(); ++i) {
    half_norms[i / features_] += static_cast<double>(centres[i]) * static_cast<double>(centres[i]) / 2;
  }
  double sum = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    double least = std::numeric_limits<double>::infinity();
    nearest_[row] = 0;
    for (std::size_t c = 0; c < clusters_; ++c) {
      const double value = half_norms[c] - static_cast<double>(products_[row * clusters_ + c]);
      if (!(value < least || std::isnan(value))) continue;  // one that is NaN is taken, so that the distance is NaN too
      least = value;
      nearest_[row] = c;
    }
    sum += squared_distance(x.subspan(row * features_, features_),
                            centres.subspan(nearest_[row] * features_, features_));
  }
  return sum;
}

}  // namespace fewbits::federated
