#include "errors.h"

#include <exception>

namespace fewbits::python {
namespace {

namespace py = pybind11;

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const Error& error) {
    const py::object object = to_python(error);
    PyErr_SetObject(py::type::handle_of(object).ptr(), object.ptr());
  }
}

}  // namespace

py::object to_python(const Error& error) {
  py::object offset = py::none();
  if (error.offset() != Error::kNoOffset) offset = py::int_(error.offset());
  return py::module_::import("fewbits._errors").attr("Error")(error.what(), static_cast<int>(error.code()), offset);
}

void register_errors() { py::register_exception_translator(translate); }

}  // namespace fewbits::python
