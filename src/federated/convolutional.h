#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "federated/dense.h"
#include "fewbits/federated/model.h"

namespace fewbits::federated {

// For square images of one channel, row-major: layers of a 3x3 convolution (zeros around the image), ReLU, and the
// largest of each 2x2 square (an odd last row and column are left out); after them one hidden dense layer, as in Dense.
// Tensors "conv1.weight" [out, in, 3, 3], "conv1.bias" [out], "conv2.weight" and so on, then those of Dense.
class Convolutional final : public Model {
 public:
  // `channels` has at least one entry, and side >> channels.size() is at least 1.
  Convolutional(std::size_t side, const std::vector<std::size_t>& channels, std::size_t hidden, std::size_t classes);

  const Layout& layout() const noexcept override { return layout_; }
  void initialize(std::uint64_t seed, std::span<float> parameters) const override;
  double loss_and_gradient(std::span<const float> parameters, const Examples& batch,
                           std::span<float> gradient) override;
  Score score(std::span<const float> parameters, const Examples& examples) override;

 private:
  struct Layer {
    std::size_t in = 0, out = 0;       // channels
    std::size_t side = 0;              // of the images that come in; half of it goes out
    std::size_t weight = 0, bias = 0;  // where they begin in the parameters
    std::vector<float> pooled;         // [rows, out, side / 2, side / 2], what goes out
    std::vector<std::uint8_t> chosen;  // the same shape: which of its square's four values is the largest

    std::size_t positions() const { return side * side; }
    std::size_t in_size() const { return in * positions(); }
    std::size_t pooled_size() const { return out * (side / 2) * (side / 2); }
  };

  static std::vector<Layer> make_layers(std::size_t side, const std::vector<std::size_t>& channels);

  std::span<const float> dense_part(std::span<const float> all) const { return all.subspan(dense_begin_); }
  const float* input_of(std::size_t layer, const Examples& batch, std::size_t row) const;
  void forward(std::span<const float> parameters, const Examples& batch);
  void backward(std::span<const float> parameters, const Examples& batch, std::size_t row, std::span<float> gradient);

  std::vector<Layer> layers_;
  Dense dense_;
  Layout layout_;
  std::size_t dense_begin_ = 0;

  // Of one image in one layer.
  std::vector<float> columns_;            // [in * 9, positions]: what each weight sees at each position
  std::vector<float> maps_;               // [out, positions] before ReLU, or the loss's derivative by it
  std::vector<float> derivative_;         // of the loss by what goes out of a layer
  std::vector<float> below_;              // ... and by what comes in
  std::vector<float> features_gradient_;  // [rows, features of the dense part]
};

}  // namespace fewbits::federated
