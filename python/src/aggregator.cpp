#include "aggregator.h"

#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings.h"
#include "errors.h"
#include "tensors.h"
#include "threads.h"

namespace fewbits::python {
namespace {

using namespace py::literals;

py::list add_many(PyAggregator& self, const py::iterable& iterable, const std::vector<std::uint64_t>& clients,
                  const std::optional<std::vector<double>>& weights, const std::optional<std::vector<std::uint32_t>>& places,
                  std::size_t threads) {
  const py::list frames(iterable);
  const std::vector<Contribution> from = contributions_of(clients, weights, places, self.sum.context().cohort_size);
  if (frames.size() != from.size())
    throw Error(Errc::kBadArgument, std::to_string(frames.size()) + " frames of " + std::to_string(from.size()) + " clients: lists must be of one length");
  std::vector<Bytes> own;
  std::vector<Submission> submissions;
  for (std::size_t i = 0; i < from.size(); ++i) {
    own.emplace_back(frames[i]);
    submissions.push_back({own.back().values(), from[i]});
  }
  std::vector<std::optional<Error>> refusals;
  {
    const py::gil_scoped_release release;
    CallThreads executor(threads);
    const std::scoped_lock lock(*self.mutex);
    refusals = self.sum.add_many(submissions, &executor);
  }
  py::list all;
  for (const std::optional<Error>& refusal : refusals) all.append(refusal ? to_python(*refusal) : py::object(py::none()));
  return all;
}

}  // namespace

std::vector<Contribution> contributions_of(const std::vector<std::uint64_t>& clients, const std::optional<std::vector<double>>& weights,
                                           const std::optional<std::vector<std::uint32_t>>& places, std::uint32_t cohort_size) {
  if ((weights && weights->size() != clients.size()) || (places && places->size() != clients.size()))
    throw Error(Errc::kBadArgument, "clients, weights and cohort_indices must be of one length");
  std::vector<Contribution> all;
  for (std::size_t i = 0; i < clients.size(); ++i) {
    const auto place = places ? (*places)[i] : cohort_size > 1 ? static_cast<std::uint32_t>(i) : 0u;
    all.push_back({clients[i], weights ? (*weights)[i] : 1.0, place});
  }
  return all;
}

void bind_aggregator(py::module_& module) {
  py::class_<PyAggregator>(module, "Aggregator", R"(The weighted mean of the updates of one round, frame by frame.

seed, round: as clients encode with. cohort_size: clients that are asked, for plans that correlate them.
max_abs, max_weight: of a coefficient before its weight, and of one client: what is beyond is refused.

Memory: 8 bytes a coordinate and scratch for one frame, however many clients. Frames may come from anywhere: one that is not
perfect is refused and leaves the sum as it was. One thread at a time.)")
      .def(py::init([](const TypedCodec& codec, std::uint64_t seed, std::uint32_t round, std::uint32_t cohort_size, double max_abs,
                       double max_weight) {
             return PyAggregator{codec, Aggregator(codec.codec(), {seed, round, cohort_size}, {max_abs, max_weight}), std::make_unique<std::mutex>()};
           }), "codec"_a, py::kw_only(), "seed"_a, "round"_a, "cohort_size"_a = 1, "max_abs"_a = Limits{}.max_abs,
           "max_weight"_a = Limits{}.max_weight)
      .def("add", [](PyAggregator& self, const py::object& frame, std::uint64_t client, double weight, std::uint32_t cohort_index) {
             const Bytes own(frame);
             const py::gil_scoped_release release;
             const std::scoped_lock lock(*self.mutex);
             self.sum.add(own.values(), {client, weight, cohort_index});
           }, "frame"_a, py::kw_only(), "client"_a, "weight"_a = 1.0, "cohort_index"_a = 0,
           R"(Adds a client's frame. All or nothing.

client: as the caller has authenticated it: a frame that names another is refused.
weight: positive; in federated averaging the client's number of examples.

Raises Error unless the frame is perfect, of this plan, layout and round, and from a client not in the sum yet.)")
      .def("add_many", &add_many, "frames"_a, py::kw_only(), "clients"_a, "weights"_a = py::none(), "cohort_indices"_a = py::none(), "threads"_a = 0,
           R"(Adds several frames, as add does for one after the other, to the bit, on several threads.

A frame that add would refuse adds nothing and does not stop the others. Returns a list: None for each frame that is in the sum,
else the Error that says why not. weights: 1 each by default. cohort_indices: by default the places in the list.
threads: that work at the same time; 0: one a core.)")
      .def("merge", [](PyAggregator& self, const PyAggregator& other) {
             const py::gil_scoped_release release;
             if (&self == &other) return self.sum.merge(other.sum);   // which refuses clients in common
             const std::scoped_lock lock(*self.mutex, *other.mutex);
             self.sum.merge(other.sum);
           }, "other"_a,
           "Adds what another one of the same codec, seed and round holds, with no client in common. All or nothing.")
      .def_property_readonly("clients", [](const PyAggregator& self) { return self.sum.clients(); }, "How many are in the sum.")
      .def_property_readonly("total_weight", [](const PyAggregator& self) { return self.sum.total_weight(); })
      .def_property_readonly("codec", [](const PyAggregator& self) { return self.codec; })
      .def("mean", [](const PyAggregator& self) {
             std::vector<float> mean;
             {
               const py::gil_scoped_release release;
               const std::scoped_lock lock(*self.mutex);
               mean = self.sum.mean();
             }
             return to_array(std::move(mean));
           }, R"(The weighted mean of the updates: float32, shape [codec.elements]; codec.unflatten gives it names and shapes.

Raises Error (EMPTY) before the first client.)")
      .def("serialize", [](const PyAggregator& self) {
             std::vector<std::byte> bytes;
             {
               const py::gil_scoped_release release;
               const std::scoped_lock lock(*self.mutex);
               bytes = self.sum.serialize();
             }
             return to_bytes(bytes);
           },
           "The partial sum as bytes, for another process or a restart. Restore it from trusted places alone.")
      .def_static("restore", [](const TypedCodec& codec, const py::object& state, std::uint64_t seed, std::uint32_t round,
                                std::uint32_t cohort_size, double max_abs, double max_weight) {
             return PyAggregator{codec, Aggregator::restore(codec.codec(), {seed, round, cohort_size}, Bytes(state).values(),
                                                            {max_abs, max_weight}), std::make_unique<std::mutex>()};
           }, "codec"_a, "state"_a, py::kw_only(), "seed"_a, "round"_a, "cohort_size"_a = 1, "max_abs"_a = Limits{}.max_abs,
           "max_weight"_a = Limits{}.max_weight, "Undoes serialize. Raises Error for damaged bytes, or those of another round or codec.");
}

}  // namespace fewbits::python
