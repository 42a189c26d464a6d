#pragma once

#include <pybind11/pybind11.h>

#include "fewbits/description.h"

namespace fewbits::python {

pybind11::dict to_dict(const Description& description);
pybind11::str to_text(Unbiased unbiased);   // "always", "over rotations" or "no"

}  // namespace fewbits::python
