#include "federated/initialize.h"

#include <cmath>

#include "datasets/variates.h"
#include "kernels/random.h"

namespace fewbits::federated {

void he_initialize(const Layout& layout, std::uint64_t seed, std::span<float> parameters) {
  for (std::size_t t = 0; t < layout.tensors().size(); ++t) {
    const Tensor& tensor = layout.tensors()[t];
    const std::span<float> values = parameters.subspan(layout.offset(t), tensor.elements());
    RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kInitialModel), seed, t}));
    datasets::NormalReader normal(random);
    const bool matrix = tensor.shape.size() == 2;
    const double deviation = matrix ? std::sqrt(2 / static_cast<double>(tensor.shape[0])) : 0;
    for (float& value : values) value = matrix ? static_cast<float>(deviation * normal.next()) : 0.0f;
  }
}

}  // namespace fewbits::federated
