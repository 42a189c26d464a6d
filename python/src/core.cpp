// fewbits._core: the library's classes in Python, by the same names. The package's __init__.py says what is public.
#include <pybind11/pybind11.h>

#include <string>

#include "bindings.h"
#include "errors.h"
#include "fewbits/version.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The library's classes; import fewbits, not this.";
  module.attr("__version__") = std::string(fewbits::kVersion);
  fewbits::python::register_errors();
  fewbits::python::bind_codec(module);
  fewbits::python::bind_aggregator(module);
  fewbits::python::bind_memory(module);
  fewbits::python::bind_downlink(module);
  fewbits::python::bind_structure(module);
  fewbits::python::bind_integers(module);
  fewbits::python::bind_catalogue(module);
}
