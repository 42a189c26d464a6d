#include "arrays.h"

#include <utility>

namespace fewbits::python {
namespace {

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

bool half(const std::string& dtype) { return dtype == "float16" || dtype == "bfloat16"; }

// torch tensors have no astype, numpy arrays no float.
py::object widened(const py::handle& object) {
  if (py::hasattr(object, "astype")) return object.attr("astype")("float32");
  return object.attr("float")();
}

}  // namespace

std::string type_name(const py::handle& object) { return py::str(py::type::handle_of(object).attr("__name__")); }

std::string dtype_name(const py::handle& object) {
  if (!py::hasattr(object, "dtype")) return "";
  std::string name = py::str(object.attr("dtype"));
  if (name.starts_with("torch.")) name.erase(0, 6);
  return name;
}

py::object with_buffer(const py::handle& object, const std::string& what) {
  if (PyObject_CheckBuffer(object.ptr()) != 0) return py::reinterpret_borrow<py::object>(object);
  if (!py::hasattr(object, "__dlpack__"))
    throw py::type_error(what + " must be a float32 array, not " + type_name(object) +
                         ": pass a numpy array, a torch tensor, or numpy.asarray(x, dtype=numpy.float32)");
  try {
    // numpy shares the memory; what cannot be shared (another device, a tensor that needs its gradient) it refuses.
    return py::module_::import("numpy").attr("from_dlpack")(object);
  } catch (const py::error_already_set& error) {
    throw py::type_error(what + " cannot be read in place: " + std::string(py::str(error.value())) +
                         " (a torch tensor: pass x.detach().cpu())");
  }
}

FloatArray::FloatArray(const py::handle& object, const std::string& what) {
  const std::string dtype = dtype_name(object);
  const py::object values = half(dtype) ? widened(object) : py::reinterpret_borrow<py::object>(object);
  const auto holder = py::reinterpret_borrow<py::buffer>(with_buffer(values, what));
  buffer_ = holder.request();
  if (buffer_.format != "f" && buffer_.format != "<f" && buffer_.format != "=f")
    throw py::type_error(what + " is of " + (dtype.empty() ? "format '" + buffer_.format + "'" : dtype) +
                         ", not float32: convert it with x.astype(numpy.float32), a tensor with x.float()");
  if (!contiguous(buffer_))
    throw py::type_error(what + " is not C-contiguous: copy it with numpy.ascontiguousarray(x), a tensor with x.contiguous()");
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

py::array_t<float> to_array(std::vector<float> values) {
  auto* const kept = new std::vector<float>(std::move(values));
  const py::capsule owner(kept, [](void* pointer) { delete static_cast<std::vector<float>*>(pointer); });
  return py::array_t<float>(static_cast<py::ssize_t>(kept->size()), kept->data(), owner);
}

}  // namespace fewbits::python
