// fewbits._core: the library's classes in Python, by the same names. The package's __init__.py says what is public.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "fewbits/aggregator.h"
#include "fewbits/codec.h"
#include "fewbits/error.h"
#include "fewbits/stages.h"
#include "fewbits/version.h"

namespace fewbits::python {
namespace {

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const Error& error) {
    const py::object type = py::module_::import("fewbits._errors").attr("Error");
    py::object offset = py::none();
    if (error.offset() != Error::kNoOffset) offset = py::int_(error.offset());
    const py::object object = type(error.what(), static_cast<int>(error.code()), offset);
    PyErr_SetObject(type.ptr(), object.ptr());
  }
}

std::vector<std::size_t> shape_of(const py::handle& object) {
  const py::object shape = py::hasattr(object, "shape") ? py::object(object.attr("shape")) : py::reinterpret_borrow<py::object>(object);
  if (py::isinstance<py::int_>(shape)) return {shape.cast<std::size_t>()};
  std::vector<std::size_t> sizes;
  for (const py::handle& size : py::iter(shape)) sizes.push_back(size.cast<std::size_t>());
  return sizes;
}

// A number of coordinates, or names with shapes, or with arrays that have them.
Layout layout_of(const py::object& object) {
  if (py::isinstance<py::int_>(object)) return {object.cast<std::size_t>()};
  if (!py::hasattr(object, "items"))
    throw py::type_error("a layout is a number of coordinates, or a dict of names with shapes or arrays, not " +
                         std::string(py::str(py::type::handle_of(object).attr("__name__"))));
  std::vector<Tensor> tensors;
  for (const py::handle& item : object.attr("items")()) {
    const auto pair = py::cast<py::tuple>(item);
    tensors.push_back({pair[0].cast<std::string>(), shape_of(pair[1])});
  }
  return Layout(std::move(tensors));
}

// An array of the library's, without a copy.
py::array_t<float> to_array(std::vector<float> values) {
  auto* const kept = new std::vector<float>(std::move(values));
  const py::capsule owner(kept, [](void* pointer) { delete static_cast<std::vector<float>*>(pointer); });
  return py::array_t<float>(static_cast<py::ssize_t>(kept->size()), kept->data(), owner);
}

// An update: one array, or a dict of the layout's tensors, which is copied into one.
class Update {
 public:
  Update(const Codec& codec, const py::object& object) {
    if (!py::hasattr(object, "keys")) {
      array_.emplace(object, "the update");
      return;
    }
    const auto tensors = codec.layout().tensors();
    if (codec.structured()) throw py::type_error("the free parameters of a structured family are one array, not a dict");
    if (static_cast<std::size_t>(py::len(object)) != tensors.size())
      throw py::value_error("the update has " + std::to_string(py::len(object)) + " tensors, the layout " + std::to_string(tensors.size()));
    copied_.reserve(codec.elements());
    for (const Tensor& tensor : tensors) {
      const py::str name(tensor.name);
      if (!object.contains(name)) throw py::value_error("the update has no tensor '" + tensor.name + "'");
      const py::object part = object[name];
      if (shape_of(part) != tensor.shape) throw py::value_error("tensor '" + tensor.name + "' is of another shape than in the layout");
      const FloatArray values(part, ("tensor '" + tensor.name + "'").c_str());
      copied_.insert(copied_.end(), values.values().begin(), values.values().end());
    }
  }
  std::span<const float> values() const noexcept { return array_ ? array_->values() : std::span<const float>(copied_); }

 private:
  std::optional<FloatArray> array_;
  std::vector<float> copied_;
};

py::str unbiased_name(Unbiased unbiased) {
  switch (unbiased) {
    case Unbiased::kAlways: return "always";
    case Unbiased::kOverRotations: return "over rotations";
    default: return "no";
  }
}

py::dict describe(const Codec& codec) {
  const Description all = codec.describe();
  py::list groups;
  for (const GroupDescription& one : all.groups) {
    py::dict group;
    group["rule"] = one.rule;
    group["stages"] = one.stages;
    group["tensors"] = one.tensors;
    group["coordinates"] = one.coordinates;
    group["values"] = one.values;
    group["unbiased"] = unbiased_name(one.unbiased);
    group["nmse_bound"] = one.nmse_bound;
    group["norm_growth"] = one.norm_growth;
    group["max_bytes"] = one.max_bytes;
    group["fixed_size"] = one.fixed_size;
    group["sum_domain"] = one.sum_domain;
    groups.append(group);
  }
  py::dict result;
  result["plan"] = all.plan;
  result["structure"] = all.structure;
  result["coordinates"] = all.coordinates;
  result["parameters"] = all.parameters;
  result["unbiased"] = unbiased_name(all.unbiased);
  result["nmse_bound"] = all.nmse_bound;
  result["norm_growth"] = all.norm_growth;
  result["max_frame_bytes"] = all.max_frame_bytes;
  result["fixed_size"] = all.fixed_size;
  result["cohort"] = all.cohort;
  result["max_rate"] = all.max_rate;
  result["groups"] = groups;
  return result;
}

// Views of a vector by the layout's names and shapes.
py::dict unflatten(const Codec& codec, const py::array_t<float>& vector) {
  if (vector.ndim() != 1 || static_cast<std::size_t>(vector.size()) != codec.layout().elements())
    throw py::value_error("the vector has " + std::to_string(vector.size()) + " values, the layout " + std::to_string(codec.layout().elements()));
  py::dict tensors;
  for (std::size_t i = 0; i < codec.layout().tensors().size(); ++i) {
    const Tensor& tensor = codec.layout().tensors()[i];
    const auto begin = static_cast<py::ssize_t>(codec.layout().offset(i));
    const auto end = begin + static_cast<py::ssize_t>(tensor.elements());
    tensors[py::str(tensor.name)] = vector[py::slice(begin, end, 1)].attr("reshape")(py::tuple(py::cast(tensor.shape)));
  }
  return tensors;
}

py::object layout_object(const Layout& layout) {
  if (layout.tensors().size() == 1 && layout.tensors()[0].name.empty() && layout.tensors()[0].shape.size() == 1)
    return py::int_(layout.elements());
  py::dict shapes;
  for (const Tensor& tensor : layout.tensors()) shapes[py::str(tensor.name)] = py::tuple(py::cast(tensor.shape));
  return shapes;
}

void bind_codec(py::module_& module) {
  using namespace py::literals;
  py::class_<Codec>(module, "Codec", R"(A plan compiled for a layout. Immutable; may be used from several threads, pickled and copied.

Codec(plan, layout)

plan: text, e.g. "trellis:bits=2" or "hadamard+quantize:bits=4"; `fewbits stages` lists what it may name.
layout: the number of coordinates, or a dict of the tensors' names with shapes or with arrays that have them.

Raises Error (BAD_PLAN) with the position in the plan and what would be right.)")
      .def(py::init([](const std::string& plan, const py::object& layout) { return Codec::compile(plan, layout_of(layout)); }),
           "plan"_a, "layout"_a)
      .def_property_readonly("plan", &Codec::plan, "The canonical text: equal for plans that mean the same.")
      .def_property_readonly("layout", [](const Codec& codec) { return layout_object(codec.layout()); },
                             "The number of coordinates, or a dict of names with shapes.")
      .def_property_readonly("elements", &Codec::elements, "Length of the vector that encode takes and decode gives.")
      .def_property_readonly("fingerprint", &Codec::fingerprint, "Hash of plan, layout and profile that every frame carries.")
      .def_property_readonly("max_frame_size", &Codec::max_frame_size, "Bytes; frames are never longer.")
      .def("describe", &describe, "What the plan promises before anything is coded: bounds, bias, bytes, by rule.")
      .def("encode", [](const Codec& codec, const py::object& update, std::uint64_t seed, std::uint32_t round, std::uint64_t client,
                        std::pair<std::uint32_t, std::uint32_t> cohort) {
             const Update own(codec, update);
             const Context context{seed, round, client, {cohort.first, cohort.second}};
             std::vector<std::byte> frame;
             {
               const py::gil_scoped_release release;
               frame = codec.encode(own.values(), context);
             }
             return to_bytes(frame);
           }, "update"_a, py::kw_only(), "seed"_a, "round"_a, "client"_a, "cohort"_a = std::pair(0u, 1u),
           R"(The update as a frame: bytes, whose length is what a client uploads.

update: C-contiguous float32 values (shape [elements], or any shape with that many), read in place; numpy arrays, torch tensors on
    the CPU; or a dict of the layout's tensors. All finite.
seed: of the run, which clients and server share; no secret.
round, client: which randomness is drawn; they are in the frame.
cohort: (place, size) of the client among those asked in this round, for plans that correlate them.

Raises Error (BAD_ARGUMENT for a wrong length, NOT_FINITE), TypeError for arrays that would have to be converted.)")
      .def("decode", [](const Codec& codec, const py::object& frame, std::uint64_t seed, std::pair<std::uint32_t, std::uint32_t> cohort) {
             const Bytes own(frame);
             std::vector<float> update;
             {
               const py::gil_scoped_release release;
               update = codec.decode(own.values(), {seed, {cohort.first, cohort.second}});
             }
             return to_array(std::move(update));
           }, "frame"_a, py::kw_only(), "seed"_a, "cohort"_a = std::pair(0u, 1u),
           R"(The update that a frame stands for: float32, shape [elements].

Raises Error for every frame that this codec's encoder could not have written with that seed.)")
      .def("unflatten", &unflatten, "vector"_a,
           "Views of a vector (float32, shape [layout's coordinates]) by the layout's names, in their shapes.")
      .def("__eq__", [](const Codec& a, const py::object& b) { return py::isinstance<Codec>(b) && a.fingerprint() == b.cast<const Codec&>().fingerprint(); })
      .def("__hash__", [](const Codec& codec) { return py::hash(py::int_(codec.fingerprint())); })
      .def("__repr__", [](const Codec& codec) {
             return "fewbits.Codec(" + std::string(py::repr(py::str(codec.plan()))) + ", " + std::string(py::repr(layout_object(codec.layout()))) + ")";
           })
      .def(py::pickle([](const Codec& codec) { return py::make_tuple(codec.plan(), layout_object(codec.layout())); },
                      [](const py::tuple& state) { return Codec::compile(state[0].cast<std::string>(), layout_of(state[1])); }));

  py::class_<Encoder>(module, "Encoder", R"(Encodes update after update without allocating but for the frames.

Encoder(codec)

One a thread, and one a client where a stage of the plan remembers (the warm start of lowrank).)")
      .def(py::init<Codec>(), "codec"_a)
      .def_property_readonly("codec", &Encoder::codec)
      .def("encode", [](Encoder& encoder, const py::object& update, std::uint64_t seed, std::uint32_t round, std::uint64_t client,
                        std::pair<std::uint32_t, std::uint32_t> cohort) {
             const Update own(encoder.codec(), update);
             std::span<const std::byte> frame;
             {
               const py::gil_scoped_release release;
               frame = encoder.encode(own.values(), {seed, round, client, {cohort.first, cohort.second}});
             }
             return to_bytes(frame);
           }, "update"_a, py::kw_only(), "seed"_a, "round"_a, "client"_a, "cohort"_a = std::pair(0u, 1u), "As Codec.encode.")
      .def("save", [](const Encoder& encoder) { return to_bytes(encoder.save()); }, "What stages remember from frame to frame, as bytes.")
      .def("restore", [](Encoder& encoder, const py::object& state) { encoder.restore(Bytes(state).values()); }, "state"_a,
           "Undoes save. Raises Error (WRONG_PLAN) for the state of another codec, and for damaged bytes.");
}

void bind_aggregator(py::module_& module) {
  using namespace py::literals;
  py::class_<Aggregator>(module, "Aggregator", R"(The weighted mean of the updates of one round, frame by frame.

Aggregator(codec, *, seed, round, cohort_size=1, max_abs=1e9, max_weight=1e12)

Memory: 8 bytes a coordinate and scratch for one frame, however many clients. Frames may come from anywhere: one that is not
perfect is refused and leaves the sum as it was. One thread at a time.

max_abs, max_weight: of a coefficient before its weight, and of a client.)")
      .def(py::init([](Codec codec, std::uint64_t seed, std::uint32_t round, std::uint32_t cohort_size, double max_abs, double max_weight) {
             return Aggregator(std::move(codec), {seed, round, cohort_size}, {max_abs, max_weight});
           }), "codec"_a, py::kw_only(), "seed"_a, "round"_a, "cohort_size"_a = 1u, "max_abs"_a = Limits{}.max_abs,
           "max_weight"_a = Limits{}.max_weight)
      .def("add", [](Aggregator& aggregator, const py::object& frame, std::uint64_t client, double weight, std::uint32_t cohort_index) {
             const Bytes own(frame);
             const py::gil_scoped_release release;
             aggregator.add(own.values(), {client, weight, cohort_index});
           }, "frame"_a, py::kw_only(), "client"_a, "weight"_a = 1.0, "cohort_index"_a = 0u,
           R"(Adds a client's frame. All or nothing.

client: as the caller has authenticated it: a frame that names another is refused.
weight: positive; in federated averaging the client's number of examples.

Raises Error unless the frame is perfect, of this plan, layout and round, and from a client not in the sum yet.)")
      .def("merge", [](Aggregator& aggregator, const Aggregator& other) { aggregator.merge(other); }, "other"_a,
           "Adds what another one of the same codec, seed and round holds, with no client in common. All or nothing.")
      .def_property_readonly("clients", &Aggregator::clients, "How many clients are in the sum.")
      .def_property_readonly("total_weight", &Aggregator::total_weight)
      .def_property_readonly("codec", &Aggregator::codec)
      .def("mean", [](const Aggregator& aggregator) {
             std::vector<float> mean;
             {
               const py::gil_scoped_release release;
               mean = aggregator.mean();
             }
             return to_array(std::move(mean));
           }, "The weighted mean of the updates: float32, shape [codec.elements]. Raises Error (EMPTY) before the first client.")
      .def("serialize", [](const Aggregator& aggregator) { return to_bytes(aggregator.serialize()); },
           "The partial sum as bytes, for another process or a restart. Restore it from trusted places alone.")
      .def_static("restore", [](Codec codec, const py::object& state, std::uint64_t seed, std::uint32_t round, std::uint32_t cohort_size) {
             return Aggregator::restore(std::move(codec), {seed, round, cohort_size}, Bytes(state).values());
           }, "codec"_a, "state"_a, py::kw_only(), "seed"_a, "round"_a, "cohort_size"_a = 1u, "Undoes serialize.");
}

py::list parameters_of(const std::vector<ParameterInfo>& parameters) {
  py::list all;
  for (const ParameterInfo& parameter : parameters) {
    py::dict one;
    one["name"] = parameter.name;
    one["type"] = parameter.type;
    one["range"] = parameter.range;
    one["default"] = parameter.default_value;
    one["optional"] = parameter.optional;
    one["summary"] = parameter.summary;
    all.append(one);
  }
  return all;
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "The library's classes; import fewbits, not this.";
  module.attr("__version__") = std::string(kVersion);
  py::register_exception_translator(translate);
  bind_codec(module);
  bind_aggregator(module);
  module.def("stages", [] {
    py::list all;
    for (const StageInfo& stage : stages()) {
      py::dict one;
      one["name"] = stage.name;
      one["roles"] = stage.roles;
      one["summary"] = stage.summary;
      one["source"] = stage.source;
      one["parameters"] = parameters_of(stage.parameters);
      all.append(one);
    }
    return all;
  }, "Every stage that a plan may name: a list of dicts with name, roles, summary, source and parameters.");
}

}  // namespace fewbits::python
