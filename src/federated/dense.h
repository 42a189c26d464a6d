#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fewbits/federated/model.h"

namespace fewbits::federated {

// Fully connected layers with ReLU between them and softmax cross-entropy at the end; no hidden layer is softmax
// regression. Tensors "dense1.weight" [in, out], "dense1.bias" [out], "dense2.weight" and so on.
class Dense final : public Model {
 public:
  Dense(std::size_t features, const std::vector<std::size_t>& hidden, std::size_t classes);

  const Layout& layout() const noexcept override { return layout_; }
  void initialize(std::uint64_t seed, std::span<float> parameters) const override;
  double loss_and_gradient(std::span<const float> parameters, const Examples& batch,
                           std::span<float> gradient) override;
  double loss_and_gradients(std::span<const float> parameters, const Examples& batch, std::span<float> gradient,
                            std::span<float> features_gradient) override;
  Score score(std::span<const float> parameters, const Examples& examples) override;

 private:
  std::size_t layers() const { return widths_.size() - 1; }
  // Of layer 1, 2, ..., in parameters or a gradient.
  template <typename T>
  std::span<T> weight(std::span<T> values, std::size_t layer) const {
    return values.subspan(layout_.offset(2 * layer - 2), widths_[layer - 1] * widths_[layer]);
  }
  template <typename T>
  std::span<T> bias(std::span<T> values, std::size_t layer) const {
    return values.subspan(layout_.offset(2 * layer - 1), widths_[layer]);
  }
  void forward(std::span<const float> parameters, const Examples& batch);

  std::vector<std::size_t> widths_;              // features, hidden layers, classes
  Layout layout_;
  std::vector<std::vector<float>> activations_;  // [rows, width] after each layer; entry 0 is not used
  std::vector<std::vector<float>> gradients_;    // of the loss by what comes out of each layer before its ReLU
};

}  // namespace fewbits::federated
