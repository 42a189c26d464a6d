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

RandomReader stream(std::uint64_t seed, std::size_t t) {
  return RandomReader(stream_key({static_cast<std::uint64_t>(Purpose::kInitialModel), seed, t}));
}

std::span<float> values_of(const Layout& layout, std::size_t t, std::span<float> parameters) {
  return parameters.subspan(layout.offset(t), layout.tensors()[t].elements());
}

}  // namespace

void he_initialize(const Layout& layout, std::uint64_t seed, std::span<float> parameters) {
  for (std::size_t t = 0; t < layout.tensors().size(); ++t) {
    const Tensor& tensor = layout.tensors()[t];
    const double deviation = tensor.shape.size() < 2 ? 0 : std::sqrt(2 / static_cast<double>(inputs(tensor)));
    normal_initialize(layout, t, seed, deviation, parameters);
  }
}

void normal_initialize(const Layout& layout, std::size_t t, std::uint64_t seed, double deviation,
                       std::span<float> parameters) {
  RandomReader random = stream(seed, t);
  datasets::NormalReader normal(random);
  for (float& value : values_of(layout, t, parameters)) {
    value = deviation > 0 ? static_cast<float>(deviation * normal.next()) : 0.0f;
  }
}

void uniform_initialize(const Layout& layout, std::size_t t, std::uint64_t seed, double limit,
                        std::span<float> parameters) {
  RandomReader random = stream(seed, t);
  for (float& value : values_of(layout, t, parameters)) {
    value = static_cast<float>((2 * random.uniform() - 1) * limit);
  }
}

}  // namespace fewbits::federated
