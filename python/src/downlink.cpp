// Models that go down as compressed differences.
#include "fewbits/downlink.h"

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "bindings.h"
#include "tensors.h"

namespace fewbits::python {
namespace {

using namespace py::literals;

// `Side`: Downlink or DownlinkView.
template <class Side>
struct PySide {
  TypedCodec codec;
  Side side;
  std::unique_ptr<std::mutex> mutex = std::make_unique<std::mutex>();   // as in PyAggregator
};
using PyDownlink = PySide<Downlink>;
using PyDownlinkView = PySide<DownlinkView>;

template <class Side>
PySide<Side> made(const TypedCodec& codec, const py::object& model) {
  const Update own(codec, model);
  return {codec, Side(codec.codec(), own.values())};
}

template <class Side>
py::array_t<float> view_of(const PySide<Side>& self) {
  const std::unique_lock lock = without_gil(*self.mutex);
  return to_array({self.side.view().begin(), self.side.view().end()});
}

py::bytes encode(PyDownlink& self, const py::object& model, std::uint64_t seed, std::uint32_t round) {
  const Update own(self.codec, model);
  std::vector<std::byte> frame;
  {
    const py::gil_scoped_release release;
    const std::scoped_lock lock(*self.mutex);
    frame = self.side.encode(own.values(), seed, round);
  }
  return to_bytes(frame);
}

void bind_server(py::module_& module) {
  py::class_<PyDownlink>(module, "Downlink", R"(Models sent to clients as compressed differences: the server's side.

All that have the frames of all rounds have the same bits, the view. Each frame moves it towards the server's model, so that what
one round leaves out the next ones bring.

codec: any but a structured one. model: what clients have at the start: float32, shape [codec.elements], or a dict of the layout's
    tensors.
Source: Gruntkowska et al. 2022, EF21-P. Memory: 12 bytes a coordinate.
Raises Error (BAD_ARGUMENT) for a model of another length and for structured codecs, (NOT_FINITE).)")
      .def(py::init(&made<Downlink>), "codec"_a, "model"_a)
      .def("encode", &encode, "model"_a, py::kw_only(), "seed"_a, "round"_a,
           R"(The frame of a round towards the model, for all clients: bytes. The view has moved then.

model: as the constructor takes it. seed: of the run. round: grows from frame to frame.
Raises Error (WRONG_ROUND) for a round that does not, and what Codec.encode raises; nothing has changed then.)")
      .def("view", &view_of<Downlink>, "What clients with all frames so far have: float32, shape [codec.elements].")
      .def_property_readonly("codec", [](const PyDownlink& self) { return self.codec; })
      .def("save", [](const PyDownlink& self) {
             const std::unique_lock lock = without_gil(*self.mutex);
             return to_bytes(self.side.save());
           }, "Everything that later frames depend on but the model of the start, as bytes.")
      .def_static("restore", [](const TypedCodec& codec, const py::object& model, const py::object& state) {
             const Update own(codec, model);
             return PyDownlink{codec, Downlink::restore(codec.codec(), own.values(), Bytes(state).values())};
           }, "codec"_a, "model"_a, "state"_a,
           R"(Undoes save: goes on with the same bits. codec, model: as the constructor was given.

Raises Error for damaged bytes, and those of another codec.)");
}

void bind_client(py::module_& module) {
  py::class_<PyDownlinkView>(module, "DownlinkView", R"(A client's side of a Downlink: it begins with the same model, or joins with the server's view.

codec, model, and what it raises: as of Downlink.)")
      .def(py::init(&made<DownlinkView>), "codec"_a, "model"_a)
      .def("add", [](PyDownlinkView& self, const py::object& frame, std::uint64_t seed) {
             const Bytes own(frame);
             const py::gil_scoped_release release;
             const std::scoped_lock lock(*self.mutex);
             self.side.add(own.values(), seed);
           }, "frame"_a, py::kw_only(), "seed"_a, "Moves the view by a round's frame. Raises Error as Codec.decode; nothing has changed then.")
      .def("view", &view_of<DownlinkView>, "The model: float32, shape [codec.elements]; codec.unflatten gives it names and shapes.")
      .def_property_readonly("codec", [](const PyDownlinkView& self) { return self.codec; });
}

}  // namespace

void bind_downlink(py::module_& module) {
  bind_server(module);
  bind_client(module);
}

}  // namespace fewbits::python
