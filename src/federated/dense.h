#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "fewbits/federated/model.h"

namespace fewbits::federated {

// Fully connected layers with ReLU between them and softmax cross-entropy at the end; no hidden layer is softmax
// regression. Tensors "dense1.weight" [in, out], "dense1.bias" [out], "dense2.weight" and so on.
std::unique_ptr<Model> make_dense(std::size_t features, const std::vector<std::size_t>& hidden, std::size_t classes);

}  // namespace fewbits::federated
