#pragma once

#include <pybind11/pybind11.h>

namespace fewbits::python {

void bind_privacy(pybind11::module_& module);
void bind_secure(pybind11::module_& module);

}  // namespace fewbits::python
