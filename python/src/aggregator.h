#pragma once

#include "fewbits/aggregator.h"
#include "tensors.h"

namespace fewbits::python {

struct PyAggregator {
  TypedCodec codec;
  Aggregator sum;
};

}  // namespace fewbits::python
