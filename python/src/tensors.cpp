#include "tensors.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

namespace fewbits::python {
namespace {

constexpr unsigned kPartBits = 16;

struct IntegerType {
  std::string_view name;
  std::size_t bytes;
  bool is_signed;

  std::size_t parts() const noexcept { return std::max<std::size_t>(1, bytes / (kPartBits / 8)); }
};

constexpr std::array<IntegerType, 9> kIntegers = {{{"bool", 1, false}, {"int8", 1, true}, {"uint8", 1, false}, {"int16", 2, true},
                                                   {"uint16", 2, false}, {"int32", 4, true}, {"uint32", 4, false},
                                                   {"int64", 8, true}, {"uint64", 8, false}}};

const IntegerType* integer_type(std::string_view dtype) {
  const auto* const found = std::ranges::find(kIntegers, dtype, &IntegerType::name);
  return found == kIntegers.end() ? nullptr : found;
}

bool is_whole(const py::handle& object) { return PyIndex_Check(object.ptr()) != 0 && !py::isinstance<py::bool_>(object); }

std::size_t size_of(const py::handle& object) {
  if (!is_whole(object)) throw py::type_error("a shape is made of whole numbers, not of " + type_name(object));
  const Py_ssize_t size = PyNumber_AsSsize_t(object.ptr(), nullptr);   // beyond the range its end
  if (size < 0 || static_cast<std::size_t>(size) > Layout::kMaxElements)
    throw Error(Errc::kBadArgument, "a shape has " + std::string(py::str(object)) + ", expected 0 to " + std::to_string(Layout::kMaxElements));
  return static_cast<std::size_t>(size);
}

std::vector<std::size_t> shape_of(const py::handle& shape) {
  if (is_whole(shape) && !py::hasattr(shape, "__len__")) return {size_of(shape)};
  std::vector<std::size_t> sizes;
  for (const py::handle& size : py::iter(shape)) sizes.push_back(size_of(size));
  return sizes;
}

bool is_shape_and_dtype(const py::handle& object) {
  return py::isinstance<py::tuple>(object) && py::len(object) == 2 && !is_whole(py::reinterpret_borrow<py::tuple>(object)[1]);
}

// "int64" of that text, of what numpy.dtype takes, and of torch's dtypes.
std::string dtype_text(const py::object& dtype) {
  std::string name = py::str(dtype);
  if (py::isinstance<py::str>(dtype)) return name;
  if (name.starts_with("torch.")) return name.substr(6);
  return py::str(py::module_::import("numpy").attr("dtype")(dtype).attr("name"));
}

bool is_floating(std::string_view dtype) {
  return dtype.empty() || dtype == "float32" || dtype == "float16" || dtype == "bfloat16" || dtype == "float64";
}

TypedCodec::Tensor tensor_of(const std::string& name, const py::handle& given) {
  TypedCodec::Tensor tensor{name, {}, "float32"};
  std::string dtype;
  if (is_shape_and_dtype(given)) {
    const auto pair = py::reinterpret_borrow<py::tuple>(given);
    tensor.shape = shape_of(pair[0]);
    dtype = dtype_text(pair[1]);
  } else if (py::hasattr(given, "shape")) {
    tensor.shape = shape_of(given.attr("shape"));
    dtype = dtype_name(given);
  } else {
    tensor.shape = shape_of(given);
  }
  if (const IntegerType* integer = integer_type(dtype)) {
    tensor.dtype = dtype;
    tensor.parts = integer->parts();
  } else if (!is_floating(dtype)) {
    throw py::type_error("tensor '" + name + "' is of " + dtype + ": only floats, integers and bools have updates");
  }
  return tensor;
}

// An array of one element without axes has an index too.
bool is_number(const py::object& layout) { return is_whole(layout) && !py::hasattr(layout, "items"); }

std::vector<TypedCodec::Tensor> tensors_of(const py::object& layout) {
  std::vector<TypedCodec::Tensor> tensors;
  if (is_number(layout)) return tensors;
  if (!py::hasattr(layout, "items"))
    throw py::type_error("a layout is a number of coordinates, or a dict of names with shapes or arrays, not " + type_name(layout));
  for (const py::handle& item : layout.attr("items")()) {
    const auto pair = py::cast<py::tuple>(item);
    if (!py::isinstance<py::str>(pair[0])) throw py::type_error("a tensor's name is text, not " + type_name(pair[0]));
    tensors.push_back(tensor_of(pair[0].cast<std::string>(), pair[1]));
  }
  return tensors;
}

Layout layout_of(const py::object& object, const std::vector<TypedCodec::Tensor>& tensors) {
  if (is_number(object)) return {size_of(object)};
  std::vector<Tensor> all;
  for (const TypedCodec::Tensor& tensor : tensors) {
    all.push_back({tensor.name, tensor.shape});
    if (tensor.parts > 1) all.back().shape.push_back(tensor.parts);
  }
  return Layout(std::move(all));
}

// A glob that matches the name, and no tensor of floats. Characters with a meaning in plans are matched by any.
std::string glob_of(const std::string& name, const std::vector<TypedCodec::Tensor>& tensors) {
  if (name.empty()) throw py::value_error("a tensor of integers needs a name");
  std::string glob = name;
  for (char& c : glob)
    if (std::string_view("*=:;|<\t\r\n ").find(c) != std::string_view::npos) c = '?';
  if (glob == "train") glob.back() = '?';   // begins a structured family
  const auto matches = [&](const TypedCodec::Tensor& tensor) {
    return tensor.dtype == "float32" && std::ranges::equal(glob, tensor.name, [](char g, char c) { return g == '?' || g == c; });
  };
  if (const auto other = std::ranges::find_if(tensors, matches); other != tensors.end())
    throw py::value_error("the names '" + name + "' and '" + other->name + "' look alike to a plan, and one is of integers: rename one");
  return glob;
}

std::string with_rules_for_integers(const std::string& plan, const std::vector<TypedCodec::Tensor>& tensors) {
  std::string rules;
  for (const TypedCodec::Tensor& tensor : tensors)
    if (tensor.dtype != "float32") rules += glob_of(tensor.name, tensors) + "=f32+zstd:level=3; ";
  if (rules.empty() || plan.starts_with(rules)) return plan;
  if (plan.find('|') != std::string::npos)
    throw py::type_error("a structured family trains floats: leave the tensors of integers out");
  return rules + plan;
}

template <class Value>
Value load(const void* data, std::size_t index) {
  Value value;
  std::memcpy(&value, static_cast<const char*>(data) + index * sizeof value, sizeof value);
  return value;
}

std::uint64_t load_integer(const IntegerType& type, const void* data, std::size_t index) {
  switch (type.bytes) {
    case 1: return type.is_signed ? static_cast<std::uint64_t>(load<std::int8_t>(data, index)) : load<std::uint8_t>(data, index);
    case 2: return type.is_signed ? static_cast<std::uint64_t>(load<std::int16_t>(data, index)) : load<std::uint16_t>(data, index);
    case 4: return type.is_signed ? static_cast<std::uint64_t>(load<std::int32_t>(data, index)) : load<std::uint32_t>(data, index);
    default: return load<std::uint64_t>(data, index);
  }
}

// Low parts first, each from -2^15 to 2^15, so that all but the lowest are 0 of small integers: a mean rounds these as it should.
void append_integers(const IntegerType& type, const py::handle& part, const std::string& what, std::vector<float>& out) {
  const py::object array = py::module_::import("numpy").attr("ascontiguousarray")(with_buffer(part, what));
  const py::buffer_info buffer = py::reinterpret_borrow<py::buffer>(array).request();
  if (static_cast<std::size_t>(buffer.itemsize) != type.bytes) throw py::type_error(what + " does not hold what its dtype says");
  for (std::size_t i = 0; i < static_cast<std::size_t>(buffer.size); ++i) {
    std::uint64_t value = load_integer(type, buffer.ptr, i);
    for (std::size_t left = type.parts(); left > 1; --left) {
      const auto low = static_cast<std::int16_t>(value & 0xFFFF);
      out.push_back(static_cast<float>(low));
      value = type.is_signed ? static_cast<std::uint64_t>(static_cast<std::int64_t>(value) >> kPartBits) : value >> kPartBits;
      value += low < 0 ? 1 : 0;
    }
    out.push_back(type.is_signed ? static_cast<float>(static_cast<std::int64_t>(value)) : static_cast<float>(value));
  }
}

py::object integers_of(const TypedCodec::Tensor& tensor, std::span<const float> parts) {
  const py::module_ numpy = py::module_::import("numpy");
  const IntegerType& type = *integer_type(tensor.dtype);
  py::array_t<std::int64_t> values(static_cast<py::ssize_t>(parts.size() / tensor.parts));
  auto out = values.mutable_unchecked<1>();
  for (py::ssize_t i = 0; i < out.size(); ++i) {
    const auto own = parts.subspan(static_cast<std::size_t>(i) * tensor.parts, tensor.parts);
    // Parts of a mean are no whole numbers; what a part has behind the point counts in the part below it.
    std::uint64_t value = 0;
    double rest = 0;
    for (std::size_t p = own.size(); p-- > 0;) {
      const double exact = static_cast<double>(own[p]) + rest;
      const double whole = p == 0 ? std::nearbyint(exact) : std::floor(exact);
      rest = (exact - whole) * 0x1p16;
      value = (value << kPartBits) + static_cast<std::uint64_t>(static_cast<std::int64_t>(whole));
    }
    out(i) = static_cast<std::int64_t>(value);
  }
  const py::object shaped = values.attr("reshape")(py::tuple(py::cast(tensor.shape)));
  return shaped.attr(type.bytes == 8 ? "view" : "astype")(tensor.dtype);
}

std::string shape_text(const std::vector<std::size_t>& shape) { return py::str(py::tuple(py::cast(shape))); }

[[noreturn]] void refuse(const std::string& what) { throw Error(Errc::kBadArgument, what); }


// An error of the plan names a place in what the user has written, before which the rules for integers stand.
Codec compiled(const std::string& plan, const py::object& layout, const std::vector<TypedCodec::Tensor>& tensors) {
  const std::string whole = with_rules_for_integers(plan, tensors);
  try {
    return Codec::compile(whole, layout_of(layout, tensors));
  } catch (const Error& error) {
    if (error.code() != Errc::kBadPlan || whole == plan) throw;
    std::vector<TypedCodec::Tensor> floats;
    std::ranges::copy_if(tensors, std::back_inserter(floats), [](const auto& tensor) { return tensor.dtype == "float32"; });
    Codec::compile(plan, layout_of(layout, floats));
    throw;
  }
}

}  // namespace

TypedCodec::TypedCodec(const std::string& plan, const py::object& layout)
    : tensors_(std::make_shared<const std::vector<Tensor>>(tensors_of(layout))), codec_(compiled(plan, layout, *tensors_)) {}

TypedCodec TypedCodec::with_profile(const Profile& profile) const {
  TypedCodec other = *this;
  other.codec_ = codec_.with_profile(profile);
  other.profile_ = profile;
  return other;
}

py::object TypedCodec::layout() const {
  if (tensors_->empty() && codec_.layout().tensors().size() == 1) return py::int_(codec_.layout().elements());
  py::dict all;
  for (const Tensor& tensor : *tensors_) {
    const py::tuple shape(py::cast(tensor.shape));
    if (tensor.dtype == "float32")
      all[py::str(tensor.name)] = shape;
    else
      all[py::str(tensor.name)] = py::make_tuple(shape, tensor.dtype);
  }
  return all;
}

std::vector<float> TypedCodec::flatten(const py::object& object, const std::string& what) const {
  if (tensors_->size() != codec_.layout().tensors().size()) refuse("the codec's layout is a number: it takes an array, not a dict");
  for (const Tensor& tensor : *tensors_)
    if (!object.contains(py::str(tensor.name))) refuse(what + " has no tensor '" + tensor.name + "'");
  for (const py::handle& name : py::iter(object))
    if (std::ranges::none_of(*tensors_, [&](const Tensor& tensor) { return py::str(tensor.name).equal(name); }))
      refuse("the layout has no tensor " + std::string(py::repr(name)));
  std::vector<float> values;
  values.reserve(codec_.layout().elements());
  std::size_t end = 0;   // of the values up to now
  for (const Tensor& tensor : *tensors_) {
    const py::str name(tensor.name);
    const std::string own = "tensor '" + tensor.name + "'";
    const py::object part = object[name];
    if (!py::hasattr(part, "shape"))
      throw py::type_error(own + " must be an array, not " + type_name(part) + ": pass numpy.asarray(x, dtype=numpy.float32), or a torch tensor");
    if (const auto shape = shape_of(part.attr("shape")); shape != tensor.shape)
      refuse(own + " has shape " + shape_text(shape) + ", in the layout " + shape_text(tensor.shape));
    if (tensor.dtype == "float32") {
      const FloatArray floats(part, own);
      values.insert(values.end(), floats.values().begin(), floats.values().end());
    } else if (dtype_name(part) == tensor.dtype) {
      append_integers(*integer_type(tensor.dtype), part, own, values);
    } else {
      throw py::type_error(own + " is of " + dtype_name(part) + ", in the layout of " + tensor.dtype);
    }
    end += codec_.layout().tensors()[static_cast<std::size_t>(&tensor - tensors_->data())].elements();
    if (values.size() != end) refuse(own + " does not hold as many values as its shape says");
  }
  return values;
}

py::dict TypedCodec::unflatten(const py::array_t<float, py::array::c_style | py::array::forcecast>& vector) const {
  const Layout& layout = codec_.layout();
  if (tensors_->size() != layout.tensors().size()) refuse("the codec's layout is a number: it has no names");
  if (vector.ndim() != 1 || static_cast<std::size_t>(vector.size()) != layout.elements())
    refuse("the vector has " + std::to_string(vector.size()) + " values, the layout " + std::to_string(layout.elements()));
  py::dict all;
  for (std::size_t t = 0; t < tensors_->size(); ++t) {
    const Tensor& tensor = (*tensors_)[t];
    const std::size_t begin = layout.offset(t);
    const std::size_t length = layout.tensors()[t].elements();
    if (tensor.dtype == "float32")
      all[py::str(tensor.name)] = vector[py::slice(static_cast<py::ssize_t>(begin), static_cast<py::ssize_t>(begin + length), 1)].attr("reshape")(
          py::tuple(py::cast(tensor.shape)));
    else
      all[py::str(tensor.name)] = integers_of(tensor, std::span(vector.data(), layout.elements()).subspan(begin, length));
  }
  return all;
}

Update::Update(const TypedCodec& codec, const py::object& object) {
  if (!py::hasattr(object, "keys"))
    array_.emplace(object, "the update");
  else if (codec.codec().structured())
    throw py::type_error("the free parameters of a structured family are one array, not a dict");
  else
    copied_ = codec.flatten(object);
}

}  // namespace fewbits::python
