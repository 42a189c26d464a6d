#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "federated/dense.h"
#include "fewbits/federated/model.h"

namespace fewbits::federated {

// The next token at each of `length` positions: an embedding, one layer of gated recurrent units, softmax of its state.
// Units of Cho et al. 2014, arXiv 1406.1078, in the form in which the reset gate acts after the recurrent product (as
// in cuDNN and PyTorch), so that one product a step serves all three gates. From h = 0, with each token's embedding x:
//   r = sigmoid(x Wr + h Ur + br)         z = sigmoid(x Wz + h Uz + bz)
//   n = tanh(x Wn + bn + r * (h Un + c))  h <- (1 - z) * n + z * h
// The loss is the mean over rows and positions, its gradient exact: through all steps of the row. A score counts
// positions.
// Tensors "embedding.weight" [tokens, embedding], "gru.input_weight" [embedding, 3 hidden] = (Wr, Wz, Wn),
// "gru.hidden_weight" [hidden, 3 hidden] = (Ur, Uz, Un), "gru.bias" [3 hidden] = (br, bz, bn), "gru.reset_bias"
// [hidden] = c, "dense1.weight" [hidden, tokens], "dense1.bias" [tokens].
class Gru final : public Model {
 public:
  Gru(std::size_t length, std::size_t tokens, std::size_t embedding, std::size_t hidden);

  const Layout& layout() const noexcept override { return layout_; }

  // Recurrent weights uniform within 1 / sqrt(hidden), as PyTorch's; those of the embedding's side within
  // sqrt(6 / (embedding + hidden)) (Glorot, Bengio 2010, eq. 16, a gate by itself); embeddings normal with variance 1.
  void initialize(std::uint64_t seed, std::span<float> parameters) const override;

  double loss_and_gradient(std::span<const float> parameters, const Examples& batch,
                           std::span<float> gradient) override;
  Score score(std::span<const float> parameters, const Examples& examples) override;

 private:
  enum Part { kEmbedding, kInputWeight, kHiddenWeight, kBias, kResetBias, kDense };

  // Of parameters or a gradient.
  template <typename T>
  std::span<T> part(std::span<T> values, Part part) const {
    const std::size_t begin = layout_.offset(part);
    return part == kDense ? values.subspan(begin) : values.subspan(begin, layout_.offset(part + 1u) - begin);
  }

  Examples forward(std::span<const float> parameters, const Examples& batch);
  void backward(std::span<const float> parameters, std::size_t rows, std::span<float> gradient);

  std::size_t length_, embedding_, hidden_;
  Dense dense_;
  Layout layout_;

  // Steps come first, so that what belongs to one is in one piece: step t of row r is line t * rows + r.
  std::vector<float> tokens_, targets_;              // [lines]
  std::vector<float> embedded_, embedded_gradient_;  // [lines, embedding]
  std::vector<float> gates_;                         // [lines, 3 hidden]: r, z, n; then the derivative by x W + b
  std::vector<float> reset_;                         // [lines, hidden]: h Un + c
  std::vector<float> recurrent_;                     // [rows, 3 hidden]: h U of one step
  std::vector<float> recurrent_gradient_;            // [lines, 3 hidden]
  std::vector<float> states_, states_gradient_;      // [rows + lines, hidden]: the start, then h after each step
};

}  // namespace fewbits::federated
