#include "federated/gru.h"

#include <algorithm>
#include <cmath>

#include "federated/activations.h"
#include "federated/affine.h"
#include "federated/blas.h"
#include "federated/embedding.h"
#include "federated/initialize.h"

namespace fewbits::federated {
namespace {

constexpr std::size_t kPositionsPerScore = 4096;  // at once, to bound the memory of long rows and large vocabularies

Eigen::Index index(std::size_t value) { return static_cast<Eigen::Index>(value); }

Layout gru_layout(std::size_t tokens, std::size_t embedding, std::size_t hidden, const Layout& dense) {
  std::vector<Tensor> tensors{{"embedding.weight", {tokens, embedding}},
                              {"gru.input_weight", {embedding, 3 * hidden}},
                              {"gru.hidden_weight", {hidden, 3 * hidden}},
                              {"gru.bias", {3 * hidden}},
                              {"gru.reset_bias", {hidden}}};
  tensors.insert(tensors.end(), dense.tensors().begin(), dense.tensors().end());
  return Layout(std::move(tensors));
}

// [rows, length] to [length, rows].
void by_step(std::span<const float> values, std::size_t length, std::vector<float>& to) {
  const std::size_t rows = values.size() / length;
  to.resize(values.size());
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t step = 0; step < length; ++step) to[step * rows + row] = values[row * length + step];
  }
}

// One step of one row: gates come in as x W + b and go out as r, z, n. Loops are apart so that each becomes one over
// vectors.
void advance(const float* recurrent, const float* reset_bias, const float* before, std::size_t hidden, float* gates,
             float* reset, float* state) {
  float* const update = gates + hidden;
  float* const fresh = update + hidden;
  for (std::size_t i = 0; i < 2 * hidden; ++i) gates[i] = sigmoid(gates[i] + recurrent[i]);
  for (std::size_t i = 0; i < hidden; ++i) reset[i] = recurrent[2 * hidden + i] + reset_bias[i];
  for (std::size_t i = 0; i < hidden; ++i) fresh[i] = fast_tanh(fresh[i] + gates[i] * reset[i]);
  for (std::size_t i = 0; i < hidden; ++i) state[i] = fresh[i] + update[i] * (before[i] - fresh[i]);
}

// The transpose: from the derivative by the state after the step, that by x W + b in place of the gates, that by h U,
// and what goes straight to the state before it, which is added there.
void retreat(const float* derivative, const float* before, const float* reset, std::size_t hidden, float* gates,
             float* recurrent, float* below) {
  float* const update = gates + hidden;
  float* const fresh = update + hidden;
  for (std::size_t i = 0; i < hidden; ++i) below[i] += derivative[i] * update[i];
  for (std::size_t i = 0; i < hidden; ++i) {
    const float z = update[i], n = fresh[i];
    update[i] = derivative[i] * (before[i] - n) * (z * (1 - z));
    fresh[i] = derivative[i] * (1 - z) * (1 - n * n);
  }
  for (std::size_t i = 0; i < hidden; ++i) recurrent[2 * hidden + i] = fresh[i] * gates[i];
  for (std::size_t i = 0; i < hidden; ++i) gates[i] = fresh[i] * reset[i] * (gates[i] * (1 - gates[i]));
  for (std::size_t i = 0; i < 2 * hidden; ++i) recurrent[i] = gates[i];
}

// sums (shape [hidden]) of the last third of each line of values (shape [lines, 3 hidden]).
void sum_candidates(std::span<const float> values, std::span<float> sums) {
  const std::size_t hidden = sums.size();
  std::fill(sums.begin(), sums.end(), 0.0f);
  for (std::size_t line = 0; line < values.size(); line += 3 * hidden) {
    for (std::size_t i = 0; i < hidden; ++i) sums[i] += values[line + 2 * hidden + i];
  }
}

}  // namespace

Gru::Gru(std::size_t length, std::size_t tokens, std::size_t embedding, std::size_t hidden)
    : length_(length),
      embedding_(embedding),
      hidden_(hidden),
      dense_(hidden, {}, tokens),
      layout_(gru_layout(tokens, embedding, hidden, dense_.layout())) {}

void Gru::initialize(std::uint64_t seed, std::span<float> parameters) const {
  he_initialize(layout_, seed, parameters);
  normal_initialize(layout_, kEmbedding, seed, 1, parameters);
  uniform_initialize(layout_, kInputWeight, seed, std::sqrt(6 / static_cast<double>(embedding_ + hidden_)), parameters);
  uniform_initialize(layout_, kHiddenWeight, seed, 1 / std::sqrt(static_cast<double>(hidden_)), parameters);
}

double Gru::loss_and_gradient(std::span<const float> parameters, const Examples& batch, std::span<float> gradient) {
  const Examples states = forward(parameters, batch);
  const std::size_t rows = batch.x.size() / length_;
  states_gradient_.resize(states_.size());
  std::fill_n(states_gradient_.begin(), rows * hidden_, 0.0f);
  const double loss = dense_.loss_and_gradients(part(parameters, kDense), states, part(gradient, kDense),
                                                std::span(states_gradient_).subspan(rows * hidden_));
  backward(parameters, rows, gradient);
  return loss;
}

Score Gru::score(std::span<const float> parameters, const Examples& examples) {
  Score score;
  const std::size_t most = std::max(kPositionsPerScore / length_, std::size_t{1}) * length_;
  for (std::size_t begin = 0; begin < examples.x.size(); begin += most) {
    const std::size_t size = std::min(most, examples.x.size() - begin);
    const Examples states = forward(parameters, {examples.x.subspan(begin, size), examples.y.subspan(begin, size)});
    const Score block = dense_.score(part(parameters, kDense), states);
    score.sum += block.sum;
    score.weight += block.weight;
  }
  return score;
}

// The states after each step, and their targets.
Examples Gru::forward(std::span<const float> parameters, const Examples& batch) {
  by_step(batch.x, length_, tokens_);
  by_step(batch.y, length_, targets_);
  const std::size_t lines = tokens_.size(), rows = lines / length_, step = rows * hidden_;
  embedded_.resize(lines * embedding_);
  gather_rows(part(parameters, kEmbedding), embedding_, tokens_, embedded_);
  gates_.resize(lines * 3 * hidden_);
  affine(embedded_.data(), lines, part(parameters, kInputWeight), part(parameters, kBias), gates_.data());
  reset_.resize(lines * hidden_);
  recurrent_.resize(3 * step);
  states_.resize(step + lines * hidden_);
  std::fill_n(states_.begin(), step, 0.0f);
  const Eigen::Index n = index(rows), hidden = index(hidden_);
  for (std::size_t t = 0; t < length_; ++t) {
    float* const before = states_.data() + t * step;
    {
      const auto lock = product_lock();
      Matrix(recurrent_.data(), n, 3 * hidden).noalias() =
          ConstMatrix(before, n, hidden) * ConstMatrix(part(parameters, kHiddenWeight).data(), hidden, 3 * hidden);
    }
    for (std::size_t i = 0; i < step; i += hidden_) {
      advance(recurrent_.data() + 3 * i, part(parameters, kResetBias).data(), before + i, hidden_,
              gates_.data() + 3 * (t * step + i), reset_.data() + t * step + i, before + step + i);
    }
  }
  return {std::span<const float>(states_).subspan(step), targets_};
}

// From the derivative by the states, which grows from the last step to the first, that by all parameters below them.
void Gru::backward(std::span<const float> parameters, std::size_t rows, std::span<float> gradient) {
  const std::size_t lines = rows * length_, step = rows * hidden_;
  const Eigen::Index n = index(rows), hidden = index(hidden_);
  recurrent_gradient_.resize(lines * 3 * hidden_);
  for (std::size_t t = length_; t-- > 0;) {
    float* const below = states_gradient_.data() + t * step;
    for (std::size_t i = 0; i < step; i += hidden_) {
      retreat(below + step + i, states_.data() + t * step + i, reset_.data() + t * step + i, hidden_,
              gates_.data() + 3 * (t * step + i), recurrent_gradient_.data() + 3 * (t * step + i), below + i);
    }
    const auto lock = product_lock();
    Matrix(below, n, hidden).noalias() +=
        ConstMatrix(recurrent_gradient_.data() + 3 * t * step, n, 3 * hidden) *
        ConstMatrix(part(parameters, kHiddenWeight).data(), hidden, 3 * hidden).transpose();
  }
  {
    const auto lock = product_lock();
    Matrix(part(gradient, kHiddenWeight).data(), hidden, 3 * hidden).noalias() =
        ConstMatrix(states_.data(), index(lines), hidden).transpose() *
        ConstMatrix(recurrent_gradient_.data(), index(lines), 3 * hidden);
  }
  sum_candidates(recurrent_gradient_, part(gradient, kResetBias));
  embedded_gradient_.resize(embedded_.size());
  affine_gradient(embedded_.data(), lines, part(parameters, kInputWeight), gates_.data(), part(gradient, kInputWeight),
                  part(gradient, kBias), embedded_gradient_.data());
  scatter_rows(embedded_gradient_, embedding_, tokens_, part(gradient, kEmbedding));
}

}  // namespace fewbits::federated
