#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace fewbits::python {

namespace py = pybind11;

std::string type_name(const py::handle& object);

// "float32", of a numpy array or a torch tensor; "" of what has no dtype.
std::string dtype_name(const py::handle& object);

// float32 values of the caller's, C-contiguous, in place; float16 and bfloat16 are widened into one copy. They are kept alive
// as long as this lives; while it does, `values` may be read without the interpreter's lock.
class FloatArray {
 public:
  // numpy arrays and what has a buffer are taken as they are, others (torch tensors on the CPU) by DLPack. TypeError, which
  // names the mend, for another type or another order. `what` begins its sentence: "the update".
  FloatArray(const py::handle& object, const std::string& what);

  std::span<const float> values() const noexcept {
    return {static_cast<const float*>(buffer_.ptr), static_cast<std::size_t>(buffer_.size)};
  }

 private:
  py::buffer_info buffer_;
};

// A numpy array, or what has a buffer, with the same memory.
py::object with_buffer(const py::handle& object, const std::string& what);

// The bytes of a frame: bytes, or what has a contiguous buffer of bytes.
class Bytes {
 public:
  explicit Bytes(const py::handle& object);
  std::span<const std::byte> values() const noexcept {
    return {static_cast<const std::byte*>(buffer_.ptr), static_cast<std::size_t>(buffer_.size)};
  }

 private:
  py::buffer_info buffer_;
};

// A copy as bytes.
py::bytes to_bytes(std::span<const std::byte> bytes);

// An array of the library's, without a copy.
py::array_t<float> to_array(std::vector<float> values);

// New bytes, at most `most`, that write(std::span<std::byte>) fills without the interpreter's lock; it gives their number.
template <class Write>
py::bytes write_bytes(std::size_t most, Write write) {
  auto bytes = py::reinterpret_steal<py::object>(PyBytes_FromStringAndSize(nullptr, static_cast<py::ssize_t>(most)));
  if (!bytes) throw py::error_already_set();
  const std::span room(reinterpret_cast<std::byte*>(PyBytes_AS_STRING(bytes.ptr())), most);
  std::size_t length = 0;
  {
    const py::gil_scoped_release release;
    length = write(room);
  }
  PyObject* resized = bytes.release().ptr();
  if (_PyBytes_Resize(&resized, static_cast<py::ssize_t>(length)) != 0) throw py::error_already_set();
  return py::reinterpret_steal<py::bytes>(resized);
}

}  // namespace fewbits::python
