#include "arrays.h"

#include <string>

namespace fewbits::python {
namespace {

std::string type_name(const py::handle& object) { return py::str(py::type::handle_of(object).attr("__name__")); }

py::object with_buffer(const py::handle& object, const char* what) {
  if (PyObject_CheckBuffer(object.ptr()) != 0) return py::reinterpret_borrow<py::object>(object);
  if (py::hasattr(object, "__dlpack__")) {
    // numpy shares the memory; what cannot be shared (another device, a tensor that needs its gradient) it refuses.
    return py::module_::import("numpy").attr("from_dlpack")(object);
  }
  throw py::type_error(std::string(what) + " must be a float32 array, not " + type_name(object) +
                       ": pass a numpy array, a torch tensor, or numpy.asarray(x, dtype=numpy.float32)");
}

bool contiguous(const py::buffer_info& info) {
  py::ssize_t stride = info.itemsize;
  for (py::ssize_t axis = info.ndim; axis-- > 0;) {
    const auto at = static_cast<std::size_t>(axis);
    if (info.shape[at] == 0) return true;
    if (info.shape[at] != 1 && info.strides[at] != stride) return false;
    stride *= info.shape[at];
  }
  return true;
}

std::string dtype_name(const py::handle& object, const std::string& format) {
  if (py::hasattr(object, "dtype")) return py::str(object.attr("dtype"));
  return "format '" + format + "'";
}

}  // namespace

FloatArray::FloatArray(const py::handle& object, const char* what) {
  const auto holder = py::reinterpret_borrow<py::buffer>(with_buffer(object, what));
  buffer_ = holder.request();
  if (buffer_.format != "f" && buffer_.format != "<f" && buffer_.format != "=f")
    throw py::type_error(std::string(what) + " is of " + dtype_name(holder, buffer_.format) +
                         ", not float32: convert it with x.astype(numpy.float32)");
  if (!contiguous(buffer_))
    throw py::type_error(std::string(what) + " is not C-contiguous: copy it with numpy.ascontiguousarray(x)");
}

Bytes::Bytes(const py::handle& object) {
  if (PyObject_CheckBuffer(object.ptr()) == 0)
    throw py::type_error("a frame must be bytes, or what has a buffer of bytes, not " + type_name(object));
  buffer_ = py::reinterpret_borrow<py::buffer>(object).request();
  if (buffer_.itemsize != 1 || !contiguous(buffer_)) throw py::type_error("a frame must be a contiguous buffer of bytes");
}

py::bytes to_bytes(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace fewbits::python
