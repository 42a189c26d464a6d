#include "federated/dense.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "federated/blas.h"
#include "federated/initialize.h"

namespace fewbits::federated {
namespace {

Layout dense_layout(const std::vector<std::size_t>& widths) {
  std::vector<Tensor> tensors;
  for (std::size_t i = 1; i < widths.size(); ++i) {
    const std::string name = "dense" + std::to_string(i);
    tensors.push_back({name + ".weight", {widths[i - 1], widths[i]}});
    tensors.push_back({name + ".bias", {widths[i]}});
  }
  return Layout(std::move(tensors));
}

std::vector<std::size_t> all_widths(std::size_t features, const std::vector<std::size_t>& hidden, std::size_t classes) {
  std::vector<std::size_t> widths{features};
  widths.insert(widths.end(), hidden.begin(), hidden.end());
  widths.push_back(classes);
  return widths;
}

Eigen::Index index(std::size_t value) { return static_cast<Eigen::Index>(value); }

// Mean of -log softmax(scores)[label], and its derivative by the scores.
double softmax_loss(std::span<const float> labels, std::size_t classes, const std::vector<float>& scores,
                    std::vector<float>& derivative) {
  const float scale = 1 / static_cast<float>(labels.size());
  double loss = 0;
  for (std::size_t row = 0; row < labels.size(); ++row) {
    const float* score = scores.data() + row * classes;
    float* out = derivative.data() + row * classes;
    const float largest = *std::max_element(score, score + classes);
    float sum = 0;
    for (std::size_t c = 0; c < classes; ++c) sum += out[c] = std::exp(score[c] - largest);
    const auto label = static_cast<std::size_t>(labels[row]);
    loss += static_cast<double>(std::log(sum)) + static_cast<double>(largest - score[label]);
    for (std::size_t c = 0; c < classes; ++c) {
      out[c] = (out[c] / sum - (c == label ? 1.0f : 0.0f)) * scale;
    }
  }
  return loss / static_cast<double>(labels.size());
}

void sum_rows(const std::vector<float>& values, std::span<float> sums) {
  std::fill(sums.begin(), sums.end(), 0.0f);
  for (std::size_t i = 0; i < values.size(); i += sums.size()) {
    for (std::size_t c = 0; c < sums.size(); ++c) sums[c] += values[i + c];
  }
}

}  // namespace

Dense::Dense(std::size_t features, const std::vector<std::size_t>& hidden, std::size_t classes)
    : widths_(all_widths(features, hidden, classes)),
      layout_(dense_layout(widths_)),
      activations_(widths_.size()),
      gradients_(widths_.size()) {}

void Dense::initialize(std::uint64_t seed, std::span<float> parameters) const {
  he_initialize(layout_, seed, parameters);
}

double Dense::loss_and_gradient(std::span<const float> parameters, const Examples& batch, std::span<float> gradient) {
  return loss_and_gradients(parameters, batch, gradient, {});
}

double Dense::loss_and_gradients(std::span<const float> parameters, const Examples& batch, std::span<float> gradient,
                                 std::span<float> features_gradient) {
  const std::size_t rows = batch.y.size();
  forward(parameters, batch);
  gradients_.back().resize(rows * widths_.back());
  const double loss = softmax_loss(batch.y, widths_.back(), activations_.back(), gradients_.back());
  for (std::size_t layer = layers(); layer >= 1; --layer) {
    const Eigen::Index in = index(widths_[layer - 1]), out = index(widths_[layer]), n = index(rows);
    const float* input = layer == 1 ? batch.x.data() : activations_[layer - 1].data();
    const float* weight = parameters.data() + layout_.offset(2 * layer - 2);
    const ConstMatrix delta(gradients_[layer].data(), n, out);
    if (layer > 1) gradients_[layer - 1].resize(rows * widths_[layer - 1]);
    float* below = layer > 1 ? gradients_[layer - 1].data() : features_gradient.data();
    {
      const auto lock = product_lock();
      Matrix(gradient.data() + layout_.offset(2 * layer - 2), in, out).noalias() =
          ConstMatrix(input, n, in).transpose() * delta;
      if (below != nullptr) Matrix(below, n, in).noalias() = delta * ConstMatrix(weight, in, out).transpose();
    }
    sum_rows(gradients_[layer], gradient.subspan(layout_.offset(2 * layer - 1), widths_[layer]));
    if (layer > 1) {
      for (std::size_t i = 0; i < gradients_[layer - 1].size(); ++i) {
        if (!(activations_[layer - 1][i] > 0)) gradients_[layer - 1][i] = 0;
      }
    }
  }
  return loss;
}

Score Dense::score(std::span<const float> parameters, const Examples& examples) {
  forward(parameters, examples);
  const std::size_t classes = widths_.back();
  std::size_t count = 0;
  for (std::size_t row = 0; row < examples.y.size(); ++row) {
    const float* score = activations_.back().data() + row * classes;
    count += static_cast<std::size_t>(std::max_element(score, score + classes) - score) == static_cast<std::size_t>(examples.y[row]);
  }
  return {static_cast<double>(count), examples.y.size()};
}

void Dense::forward(std::span<const float> parameters, const Examples& batch) {
  const std::size_t rows = batch.y.size();
  const float* input = batch.x.data();
  for (std::size_t layer = 1; layer <= layers(); ++layer) {
    const std::size_t in = widths_[layer - 1], out = widths_[layer];
    std::vector<float>& output = activations_[layer];
    output.resize(rows * out);
    {
      const auto lock = product_lock();
      Matrix(output.data(), index(rows), index(out)).noalias() =
          ConstMatrix(input, index(rows), index(in)) *
          ConstMatrix(parameters.data() + layout_.offset(2 * layer - 2), index(in), index(out));
    }
    const float* bias = parameters.data() + layout_.offset(2 * layer - 1);
    const bool hidden = layer < layers();
    for (std::size_t row = 0; row < rows; ++row) {
      float* values = output.data() + row * out;
      for (std::size_t i = 0; i < out; ++i) {
        const float value = values[i] + bias[i];
        // Not max(0, value), which would turn a NaN of diverged training into a 0.
        values[i] = hidden && value < 0 ? 0 : value;
      }
    }
    input = output.data();
  }
}

}  // namespace fewbits::federated
