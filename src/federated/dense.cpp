#include "federated/dense.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "federated/affine.h"
#include "federated/correct.h"
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
    const float* input = layer == 1 ? batch.x.data() : activations_[layer - 1].data();
    if (layer > 1) gradients_[layer - 1].resize(rows * widths_[layer - 1]);
    affine_gradient(input, rows, weight(parameters, layer), gradients_[layer].data(), weight(gradient, layer),
                    bias(gradient, layer), layer > 1 ? gradients_[layer - 1].data() : features_gradient.data());
    if (layer == 1) break;
    for (std::size_t i = 0; i < gradients_[layer - 1].size(); ++i) {
      if (!(activations_[layer - 1][i] > 0)) gradients_[layer - 1][i] = 0;
    }
  }
  return loss;
}

Score Dense::score(std::span<const float> parameters, const Examples& examples) {
  forward(parameters, examples);
  const std::size_t count = count_correct(examples.y, widths_.back(), activations_.back().data());
  return {static_cast<double>(count), static_cast<double>(examples.y.size())};
}

void Dense::forward(std::span<const float> parameters, const Examples& batch) {
  const std::size_t rows = batch.y.size();
  const float* input = batch.x.data();
  for (std::size_t layer = 1; layer <= layers(); ++layer) {
    std::vector<float>& output = activations_[layer];
    output.resize(rows * widths_[layer]);
    affine(input, rows, weight(parameters, layer), bias(parameters, layer), output.data());
    input = output.data();
    if (layer == layers()) break;
    // Not max(0, value), which would turn a NaN of diverged training into a 0.
    for (float& value : output) value = value < 0 ? 0 : value;
  }
}

}  // namespace fewbits::federated
