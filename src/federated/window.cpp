#include "federated/window.h"

#include "federated/embedding.h"
#include "federated/initialize.h"

namespace fewbits::federated {
namespace {

Layout window_layout(const Tensor& embedding, const Layout& dense) {
  std::vector<Tensor> tensors{embedding};
  tensors.insert(tensors.end(), dense.tensors().begin(), dense.tensors().end());
  return Layout(std::move(tensors));
}

}  // namespace

Window::Window(std::size_t window, std::size_t tokens, std::size_t embedding, std::size_t hidden)
    : embedding_(embedding),
      dense_(window * embedding, {hidden}, tokens),
      layout_(window_layout({"embedding.weight", {tokens, embedding}}, dense_.layout())),
      dense_begin_(layout_.offset(1)) {}

void Window::initialize(std::uint64_t seed, std::span<float> parameters) const {
  he_initialize(layout_, seed, parameters);
  normal_initialize(layout_, 0, seed, 1, parameters);
}

double Window::loss_and_gradient(std::span<const float> parameters, const Examples& batch, std::span<float> gradient) {
  const Examples embedded = embed(parameters, batch);
  embedded_gradient_.resize(embedded_.size());
  const double loss = dense_.loss_and_gradients(parameters.subspan(dense_begin_), embedded,
                                                gradient.subspan(dense_begin_), embedded_gradient_);
  scatter_rows(embedded_gradient_, embedding_, batch.x, gradient.first(dense_begin_));
  return loss;
}

Score Window::score(std::span<const float> parameters, const Examples& examples) {
  return dense_.score(parameters.subspan(dense_begin_), embed(parameters, examples));
}

Examples Window::embed(std::span<const float> parameters, const Examples& examples) {
  embedded_.resize(examples.x.size() * embedding_);
  gather_rows(parameters.first(dense_begin_), embedding_, examples.x, embedded_);
  return {embedded_, examples.y};
}

}  // namespace fewbits::federated
