#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "federated/dense.h"
#include "fewbits/federated/model.h"

namespace fewbits::federated {

// The next token from the last `window` of them, oldest first: their embeddings side by side, one hidden layer with
// ReLU, softmax (the model of Bengio et al. 2003, "A neural probabilistic language model", section 2, with ReLU for
// tanh and no connections past the hidden layer). Tensors "embedding.weight" [tokens, embedding], then those of Dense.
class Window final : public Model {
 public:
  Window(std::size_t window, std::size_t tokens, std::size_t embedding, std::size_t hidden);

  const Layout& layout() const noexcept override { return layout_; }
  void initialize(std::uint64_t seed, std::span<float> parameters) const override;
  double loss_and_gradient(std::span<const float> parameters, const Examples& batch,
                           std::span<float> gradient) override;
  Score score(std::span<const float> parameters, const Examples& examples) override;

 private:
  Examples embed(std::span<const float> parameters, const Examples& examples);

  std::size_t embedding_;
  Dense dense_;
  Layout layout_;
  std::size_t dense_begin_;
  std::vector<float> embedded_;           // [rows, window * embedding]
  std::vector<float> embedded_gradient_;  // the same shape
};

}  // namespace fewbits::federated
