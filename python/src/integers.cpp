#include "fewbits/integers.h"

#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "bindings.h"
#include "tensors.h"

namespace fewbits::python {
namespace {

using namespace py::literals;

struct PyIntegers {
  TypedCodec codec;
  Integers integers;
};

using Sums = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;

// Integers of any type that int64 holds; floats would be cut.
Sums sums_of(const py::object& object) {
  const py::object array = py::module_::import("numpy").attr("asarray")(with_buffer(object, "the sums"));
  const std::string dtype = dtype_name(array);
  if (!dtype.starts_with("int")) throw py::type_error("the sums are of " + dtype + ", not of int8, int16, int32 or int64");
  return Sums(array);
}

std::vector<float> mean(const Integers& integers, const Sums& sums, const std::vector<Contribution>& clients) {
  const std::span own(sums.data(), static_cast<std::size_t>(sums.size()));
  const py::gil_scoped_release release;
  return integers.mean(own, clients);
}

}  // namespace

void bind_integers(py::module_& module) {
  py::class_<PyIntegers>(module, "Integers", R"(Updates of a round as integers whose plain sum is all that the receiver needs: for an all-reduce of integers, or secure
aggregation.

codec: of a plan whose every rule ends in trellis or dither with "scale=flat,step=S", or with scale=profile and a profile with a
    common step, behind transforms that all clients share.
seed, round: of the round. cohort_size: clients that are asked, for plans that correlate them.

Raises Error (BAD_ARGUMENT) for other plans, with the reason. May be used from several threads.)")
      .def(py::init([](const TypedCodec& codec, std::uint64_t seed, std::uint32_t round, std::uint32_t cohort_size) {
             return PyIntegers{codec, Integers(codec.codec(), {seed, round, cohort_size})};
           }), "codec"_a, py::kw_only(), "seed"_a, "round"_a, "cohort_size"_a = 1)
      .def_property_readonly("codec", [](const PyIntegers& self) { return self.codec; })
      .def_property_readonly("size", [](const PyIntegers& self) { return self.integers.size(); },
                             "Of a vector of integers: the values behind the plan's transforms.")
      .def("encode", [](const PyIntegers& self, const py::object& update, std::uint64_t client, std::uint32_t cohort_index) {
             const Update own(self.codec, update);
             py::array_t<std::int32_t> integers(static_cast<py::ssize_t>(self.integers.size()));
             const std::span out(integers.mutable_data(), self.integers.size());
             {
               const py::gil_scoped_release release;
               self.integers.encode(own.values(), {client, 1, cohort_index}, out);
             }
             return integers;
           }, "update"_a, py::kw_only(), "client"_a, "cohort_index"_a = 0,
           R"(A client's integers: int32, shape [size], in magnitude at most 2^30 + 4. A client with a weight multiplies by it.

update: as Codec.encode takes it. Raises Error (BAD_ARGUMENT for a wrong length or a value of over 2^30 steps, NOT_FINITE).)")
      .def("mean", [](const PyIntegers& self, const py::object& sums, const std::vector<std::uint64_t>& clients,
                      const std::optional<std::vector<double>>& weights, const std::optional<std::vector<std::uint32_t>>& places) {
             const auto all = contributions_of(clients, weights, places, self.integers.context().cohort_size);
             return to_array(mean(self.integers, sums_of(sums), all));
           }, "sums"_a, py::kw_only(), "clients"_a, "weights"_a = py::none(), "cohort_indices"_a = py::none(),
           R"(The weighted mean of the clients' updates: float32, shape [codec.elements], the bits of an Aggregator's of their frames.

sums: of weight times integers over the clients; of a signed integer type, shape [size].
weights: whole numbers, 1 each by default. cohort_indices: by default the places in the list.
Raises Error (BAD_ARGUMENT, EMPTY, DUPLICATE_CLIENT, TOO_LARGE).)")
      .def("values", [](const PyIntegers& self, const py::object& update) {
             const Update own(self.codec, update);
             std::vector<float> values;
             {
               const py::gil_scoped_release release;
               values = self.integers.values(own.values());
             }
             return to_array(std::move(values));
           }, "update"_a, "An update behind the plan's transforms, where values are quantized: float32, shape [size]. Where noise is added.")
      .def("values_of_sums", [](const PyIntegers& self, const py::object& sums, const std::vector<std::uint64_t>& clients,
                                const std::optional<std::vector<double>>& weights, const std::optional<std::vector<std::uint32_t>>& places) {
             const auto all = contributions_of(clients, weights, places, self.integers.context().cohort_size);
             const Sums own = sums_of(sums);
             const std::span in(own.data(), static_cast<std::size_t>(own.size()));
             std::vector<double> values;
             {
               const py::gil_scoped_release release;
               values = self.integers.values(in, all);
             }
             return py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
           }, "sums"_a, py::kw_only(), "clients"_a, "weights"_a = py::none(), "cohort_indices"_a = py::none(),
           "What sums of integers stand for there, not divided by anything: float64, shape [size]. Arguments and errors as of mean.")
      .def("update", [](const PyIntegers& self, const py::object& values) {
             const auto own = py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(values);
             if (!own) throw py::error_already_set();
             const std::span in(own.data(), static_cast<std::size_t>(own.size()));
             std::vector<float> update;
             {
               const py::gil_scoped_release release;
               update = self.integers.update(in);
             }
             return to_array(std::move(update));
           }, "values"_a, "The update that has such values: float32, shape [codec.elements]. Raises Error (BAD_ARGUMENT, TOO_LARGE).");
}

}  // namespace fewbits::python
