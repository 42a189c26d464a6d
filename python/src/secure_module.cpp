// fewbits._secure: what stands behind fewbits.secure and fewbits.privacy. A module of its own, since it loads Botan, and no program that
// uses codecs alone does. Privacy is in it because noise is drawn from its generator.
#include <pybind11/pybind11.h>

#include "errors.h"
#include "secure_bindings.h"

PYBIND11_MODULE(_secure, module) {
  module.doc() = "Secure aggregation and differential privacy; import fewbits.secure and fewbits.privacy, not this.";
  fewbits::python::register_errors();
  fewbits::python::bind_privacy(module);
  fewbits::python::bind_secure(module);
}
