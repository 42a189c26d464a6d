#include "federated/initialize.h"

#include <cmath>

#include "datasets/variates.h"
#include "kernels/random.h"

namespace fewbits::federated {

namespace {

// Of one output: rows of a matrix [in, out], all but the first axis of a kernel [out, in, height, width].
std::size_t inputs(const Tensor& tensor) {
  return tensor.shape.size() == 2 ? tensor.shape[0] : tensor.elements() / tensor.shape[0];
}

}  // namespace

void he_initialize(const Layout& layout, std::uint64_t seed, std::span<float> parameters) {
  for (std::size_t t = 0; t < layout.tensors().size(); ++t) {
    const Tensor& tensor = layout.tensors()[t];
    const std::span<float> values = parameters.subspan(layout.offset(t), tensor.elements());
    RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kInitialModel), seed, t}));
    datasets::NormalReader normal(random);
    const double deviation = tensor.shape.size() < 2 ? 0 : std::sqrt(2 / static_cast<double>(inputs(tensor)));
    for (float& value : values) value = deviation > 0 ? static_cast<float>(deviation * normal.next()) : 0.0f;
  }
}

}  // namespace fewbits::federated
