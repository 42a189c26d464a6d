#pragma once

#include <pybind11/pybind11.h>

#include "fewbits/error.h"

namespace fewbits::python {

pybind11::object to_python(const Error& error);   // a fewbits.Error

// From now on the library's errors are raised as fewbits.Error.
void register_errors();

}  // namespace fewbits::python
