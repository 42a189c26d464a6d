#include "federated/convolutional.h"

#include <algorithm>
#include <string>
#include <utility>

#include "federated/blas.h"
#include "federated/initialize.h"

namespace fewbits::federated {
namespace {

constexpr std::size_t kKernel = 3;
constexpr std::size_t kTaps = kKernel * kKernel;

Eigen::Index index(std::size_t value) { return static_cast<Eigen::Index>(value); }

// Where tap `offset` (0, 1, 2) of a kernel centred on a pixel stays inside [0, side).
struct Range {
  std::size_t begin, end;
};
Range inside(std::size_t offset, std::size_t side) { return {offset == 0 ? 1u : 0u, offset == 2 ? side - 1 : side}; }

// Calls part(row of the columns, first position, first pixel of the channel's image, length) for each stretch of pixels
// that a tap of the kernel sees while it moves along a line.
template <typename Part>
void for_each_stretch(std::size_t channels, std::size_t side, Part&& part) {
  for (std::size_t channel = 0; channel < channels; ++channel) {
    for (std::size_t tap = 0; tap < kTaps; ++tap) {
      const Range x = inside(tap % kKernel, side), y = inside(tap / kKernel, side);
      if (x.begin >= x.end) continue;
      for (std::size_t line = y.begin; line < y.end; ++line) {
        const std::size_t pixel = (line + tap / kKernel - 1) * side + x.begin + tap % kKernel - 1;
        part(channel * kTaps + tap, line * side + x.begin, channel * side * side + pixel, x.end - x.begin);
      }
    }
  }
}

// columns (shape [channels * 9, side * side]) from image (shape [channels, side, side]).
void image_to_columns(const float* image, std::size_t channels, std::size_t side, std::vector<float>& columns) {
  columns.assign(channels * kTaps * side * side, 0.0f);
  for_each_stretch(channels, side, [&](std::size_t row, std::size_t position, std::size_t pixel, std::size_t length) {
    std::copy_n(image + pixel, length, columns.data() + row * side * side + position);
  });
}

// The transpose: image = sums of the columns' values where they came from.
void columns_to_image(const std::vector<float>& columns, std::size_t channels, std::size_t side,
                      std::vector<float>& image) {
  image.assign(channels * side * side, 0.0f);
  for_each_stretch(channels, side, [&](std::size_t row, std::size_t position, std::size_t pixel, std::size_t length) {
    const float* from = columns.data() + row * side * side + position;
    for (std::size_t i = 0; i < length; ++i) image[pixel + i] += from[i];
  });
}

// pooled (shape [channels, side / 2, side / 2]) = ReLU of the largest value + bias of each square of maps, and which of
// the four it was. Without branches: they would be guessed wrong half the time.
void pool(const float* maps, const float* bias, std::size_t channels, std::size_t side, float* pooled,
          std::uint8_t* chosen) {
  const std::size_t half = side / 2;
  for (std::size_t channel = 0; channel < channels; ++channel) {
    const float shift = bias[channel];
    for (std::size_t y = 0; y < half; ++y, pooled += half, chosen += half) {
      const float* upper = maps + (channel * side + 2 * y) * side;
      const float* lower = upper + side;
      for (std::size_t x = 0; x < half; ++x) {
        const float up = upper[2 * x + 1] > upper[2 * x] ? upper[2 * x + 1] : upper[2 * x];
        const float low = lower[2 * x + 1] > lower[2 * x] ? lower[2 * x + 1] : lower[2 * x];
        const int up_at = upper[2 * x + 1] > upper[2 * x];
        const int low_at = lower[2 * x + 1] > lower[2 * x];
        const int below = low > up;
        const float value = (low > up ? low : up) + shift;
        pooled[x] = 0 > value ? 0 : value;  // a NaN of diverged training stays one
        chosen[x] = static_cast<std::uint8_t>(up_at + below * (2 + low_at - up_at));
      }
    }
  }
}

// The transpose of `pool` at the values it gave; the derivative by the biases is added to bias_gradient.
void unpool(const float* derivative, const float* pooled, const std::uint8_t* chosen, std::size_t channels,
            std::size_t side, std::vector<float>& maps, float* bias_gradient) {
  const std::size_t half = side / 2;
  maps.assign(channels * side * side, 0.0f);
  for (std::size_t channel = 0; channel < channels; ++channel) {
    float sum = 0;
    for (std::size_t y = 0; y < half; ++y) {
      float* square = maps.data() + (channel * side + 2 * y) * side;
      for (std::size_t x = 0; x < half; ++x, ++derivative, ++pooled, ++chosen, square += 2) {
        if (!(*pooled > 0)) continue;
        square[*chosen / 2 * side + *chosen % 2] = *derivative;
        sum += *derivative;
      }
    }
    bias_gradient[channel] += sum;
  }
}

}  // namespace

std::vector<Convolutional::Layer> Convolutional::make_layers(std::size_t side,
                                                             const std::vector<std::size_t>& channels) {
  std::vector<Layer> layers(channels.size());
  for (std::size_t i = 0; i < channels.size(); ++i) {
    layers[i].in = i == 0 ? 1 : channels[i - 1];
    layers[i].out = channels[i];
    layers[i].side = side >> i;
  }
  return layers;
}

Convolutional::Convolutional(std::size_t side, const std::vector<std::size_t>& channels, std::size_t hidden,
                             std::size_t classes)
    : layers_(make_layers(side, channels)), dense_(layers_.back().pooled_size(), {hidden}, classes), layout_(0) {
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::string name = "conv" + std::to_string(i + 1);
    tensors.push_back({name + ".weight", {layers_[i].out, layers_[i].in, kKernel, kKernel}});
    tensors.push_back({name + ".bias", {layers_[i].out}});
  }
  const std::span<const Tensor> rest = dense_.layout().tensors();
  tensors.insert(tensors.end(), rest.begin(), rest.end());
  layout_ = Layout(std::move(tensors));
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].weight = layout_.offset(2 * i);
    layers_[i].bias = layout_.offset(2 * i + 1);
  }
  dense_begin_ = layout_.offset(2 * layers_.size());
}

void Convolutional::initialize(std::uint64_t seed, std::span<float> parameters) const {
  he_initialize(layout_, seed, parameters);
}

double Convolutional::loss_and_gradient(std::span<const float> parameters, const Examples& batch,
                                        std::span<float> gradient) {
  forward(parameters, batch);
  const std::size_t features = layers_.back().pooled_size();
  features_gradient_.resize(batch.y.size() * features);
  const double loss = dense_.loss_and_gradients(dense_part(parameters), {layers_.back().pooled, batch.y},
                                                gradient.subspan(dense_begin_), features_gradient_);
  std::fill_n(gradient.begin(), dense_begin_, 0.0f);
  for (std::size_t row = 0; row < batch.y.size(); ++row) backward(parameters, batch, row, gradient);
  return loss;
}

Score Convolutional::score(std::span<const float> parameters, const Examples& examples) {
  forward(parameters, examples);
  return dense_.score(dense_part(parameters), {layers_.back().pooled, examples.y});
}

const float* Convolutional::input_of(std::size_t layer, const Examples& batch, std::size_t row) const {
  const float* images = layer == 0 ? batch.x.data() : layers_[layer - 1].pooled.data();
  return images + row * layers_[layer].in_size();
}

void Convolutional::forward(std::span<const float> parameters, const Examples& batch) {
  const std::size_t rows = batch.y.size();
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    Layer& layer = layers_[l];
    layer.pooled.resize(rows * layer.pooled_size());
    layer.chosen.resize(rows * layer.pooled_size());
    maps_.resize(layer.out * layer.positions());
    const Eigen::Index out = index(layer.out), taps = index(layer.in * kTaps), positions = index(layer.positions());
    // Image by image, so that the columns stay in the cache.
    for (std::size_t row = 0; row < rows; ++row) {
      image_to_columns(input_of(l, batch, row), layer.in, layer.side, columns_);
      {
        const auto lock = product_lock();
        Matrix(maps_.data(), out, positions).noalias() =
            ConstMatrix(parameters.data() + layer.weight, out, taps) * ConstMatrix(columns_.data(), taps, positions);
      }
      const std::size_t begin = row * layer.pooled_size();
      pool(maps_.data(), parameters.data() + layer.bias, layer.out, layer.side, layer.pooled.data() + begin,
           layer.chosen.data() + begin);
    }
  }
}

// Adds what one image gives to the gradient of the convolutions.
void Convolutional::backward(std::span<const float> parameters, const Examples& batch, std::size_t row,
                             std::span<float> gradient) {
  const std::size_t features = layers_.back().pooled_size();
  derivative_.assign(features_gradient_.begin() + static_cast<std::ptrdiff_t>(row * features),
                     features_gradient_.begin() + static_cast<std::ptrdiff_t>((row + 1) * features));
  for (std::size_t l = layers_.size(); l-- > 0;) {
    const Layer& layer = layers_[l];
    const std::size_t begin = row * layer.pooled_size();
    unpool(derivative_.data(), layer.pooled.data() + begin, layer.chosen.data() + begin, layer.out, layer.side, maps_,
           gradient.data() + layer.bias);
    image_to_columns(input_of(l, batch, row), layer.in, layer.side, columns_);
    const Eigen::Index out = index(layer.out), taps = index(layer.in * kTaps), positions = index(layer.positions());
    {
      const auto lock = product_lock();
      const ConstMatrix delta(maps_.data(), out, positions);
      Matrix(gradient.data() + layer.weight, out, taps).noalias() +=
          delta * ConstMatrix(columns_.data(), taps, positions).transpose();
      if (l == 0) return;
      Matrix(columns_.data(), taps, positions).noalias() =
          ConstMatrix(parameters.data() + layer.weight, out, taps).transpose() * delta;
    }
    columns_to_image(columns_, layer.in, layer.side, below_);
    std::swap(derivative_, below_);
  }
}

}  // namespace fewbits::federated
