#pragma once

#include <memory>
#include <mutex>

#include "fewbits/aggregator.h"
#include "tensors.h"

namespace fewbits::python {

struct PyAggregator {
  TypedCodec codec;
  Aggregator sum;
  // Python's threads may be careless: calls without the interpreter's lock take this one.
  std::unique_ptr<std::mutex> mutex = std::make_unique<std::mutex>();
};

}  // namespace fewbits::python
