#include "fewbits/structure.h"

#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "tensors.h"

namespace fewbits::python {
namespace {

using namespace py::literals;

std::span<const float> of_size(const FloatArray& array, std::size_t size, const char* what) {
  if (array.values().size() != size)
    throw py::value_error(std::string(what) + " has " + std::to_string(array.values().size()) + " values, expected " + std::to_string(size));
  return array.values();
}

// out = map(in), both float32.
template <class Map>
py::array_t<float> mapped(const py::object& in, std::size_t inputs, std::size_t outputs, const char* what, Map map) {
  const FloatArray array(in, what);
  const std::span<const float> values = of_size(array, inputs, what);
  std::vector<float> out(outputs);
  {
    const py::gil_scoped_release release;
    map(values, std::span(out));
  }
  return to_array(std::move(out));
}

}  // namespace

void bind_structure(py::module_& module) {
  py::class_<Structure>(module, "Structure", R"(A structured family of updates, drawn anew each round from the shared seed and the same for all its clients: a random mask, or
H = A B with A from the seed.

A client optimizes the free parameters, starting from zero, and sends them by the codec; the server expands their mean once.

codec: of a plan "train=FAMILY | ...". seed, round: of the round.
Source: Konecny et al. 2016, section 2. Raises Error (BAD_ARGUMENT) when the plan names no family.)")
      .def(py::init([](const TypedCodec& codec, std::uint64_t seed, std::uint32_t round) {
             return Structure(codec.codec(), {seed, round});
           }), "codec"_a, py::kw_only(), "seed"_a, "round"_a)
      .def_property_readonly("free_parameters", &Structure::free_parameters, "How many; codec.elements.")
      .def_property_readonly("coordinates", &Structure::coordinates, "Of an update.")
      .def("expand", [](const Structure& family, const py::object& free) {
             return mapped(free, family.free_parameters(), family.coordinates(), "free",
                           [&](std::span<const float> in, std::span<float> out) { family.expand(in, out); });
           }, "free"_a, "The member of the family with these free parameters: float32, shape [coordinates].")
      .def("pull_back", [](const Structure& family, const py::object& gradient) {
             return mapped(gradient, family.coordinates(), family.free_parameters(), "the gradient",
                           [&](std::span<const float> in, std::span<float> out) { family.pull_back(in, out); });
           }, "gradient"_a, "The gradient with respect to the free parameters, by the chain rule: float32, shape [free_parameters].")
      .def("project", [](const Structure& family, const py::object& update) {
             return mapped(update, family.coordinates(), family.free_parameters(), "the update",
                           [&](std::span<const float> in, std::span<float> out) { family.project(in, out); });
           }, "update"_a, "Free parameters of the member nearest to the update in the L2 norm: float32, shape [free_parameters].");
}

}  // namespace fewbits::python
