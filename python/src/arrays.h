#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <span>

namespace fewbits::python {

namespace py = pybind11;

// A C-contiguous float32 array of the caller's, in place. It is kept alive, and its memory pinned, as long as this lives; while
// it does, `values` may be read without the interpreter's lock.
class FloatArray {
 public:
  // numpy arrays and what has a buffer are taken as they are, others (torch tensors on the CPU) by DLPack. TypeError, which
  // names the mend, for another type, another order, or a copy that would have to be made.
  explicit FloatArray(const py::handle& object, const char* what);

  std::span<const float> values() const noexcept {
    return {static_cast<const float*>(buffer_.ptr), static_cast<std::size_t>(buffer_.size)};
  }

 private:
  py::buffer_info buffer_;
};

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

}  // namespace fewbits::python
