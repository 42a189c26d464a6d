#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arrays.h"
#include "fewbits/codec.h"
#include "fewbits/profile.h"

namespace fewbits::python {

// A codec, and what Python's tensors hold. Integers, which no mean of floats may round, travel in 16-bit parts: each is a
// float32 that `f32` keeps exactly, so that sums are still linear and a frame is one frame. Most parts are 0, which `zstd` takes.
class TypedCodec {
 public:
  struct Tensor {
    std::string name;
    std::vector<std::size_t> shape;   // as in Python; the layout's has an axis more where an integer has several parts
    std::string dtype;                // "float32" of all that is floating
    std::size_t parts = 1;            // values of the layout an element
  };

  // `layout` is a number of coordinates, or a dict of names with shapes, with (shape, dtype), or with arrays. The plan gets
  // a rule for each tensor of integers, unless it begins with them.
  TypedCodec(const std::string& plan, const py::object& layout);

  const Codec& codec() const noexcept { return codec_; }
  std::span<const Tensor> tensors() const noexcept { return *tensors_; }
  const std::optional<Profile>& profile() const noexcept { return profile_; }

  TypedCodec with_profile(const Profile& profile) const;

  // As the constructor takes it.
  py::object layout() const;

  // A dict of the tensors as one vector (float32, shape [layout's coordinates]), and back: views of floats, copies of
  // integers, rounded to nearest. `what` begins the sentence of an error.
  std::vector<float> flatten(const py::object& tensors, const std::string& what = "the update") const;
  py::dict unflatten(const py::array_t<float, py::array::c_style | py::array::forcecast>& vector) const;

 private:
  std::shared_ptr<const std::vector<Tensor>> tensors_;   // none where the layout is a number
  Codec codec_;
  std::optional<Profile> profile_;
};

// What `encode` takes: one array in place, or a dict of the layout's tensors, which is copied into one.
class Update {
 public:
  Update(const TypedCodec& codec, const py::object& object);
  std::span<const float> values() const noexcept { return array_ ? array_->values() : std::span<const float>(copied_); }

 private:
  std::optional<FloatArray> array_;
  std::vector<float> copied_;
};

}  // namespace fewbits::python
