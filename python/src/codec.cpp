#include <pybind11/stl.h>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bindings.h"
#include "describe.h"
#include "tensors.h"
#include "threads.h"

namespace fewbits::python {
namespace {

using namespace py::literals;

constexpr const char* kEncode = R"(The update as a frame: bytes, whose length is what a client uploads.

update: float32 values, C-contiguous, read in place: a numpy array or a torch tensor on the CPU, shape [elements] or any other
    of that many values; or a dict of the layout's tensors, which is copied. float16 and bfloat16 are widened into a copy.
    All finite. It must not change until this returns.
seed: of the run, which clients and server share; no secret. A frame does not tell it.
round, client: which randomness is drawn; they are in the frame. round is below 2^28.
cohort: (index, size): the client's place among those asked in this round, for plans that correlate them.

Raises Error (BAD_ARGUMENT for a wrong length, NOT_FINITE), TypeError for arrays that would have to be converted.)";

struct PyEncoder {
  TypedCodec codec;
  Encoder encoder;
  std::unique_ptr<std::mutex> mutex = std::make_unique<std::mutex>();   // as in PyAggregator
};

py::list encode_many(const TypedCodec& codec, const py::iterable& iterable, std::uint64_t seed, std::uint32_t round,
                     const std::vector<std::uint64_t>& clients, std::size_t threads) {
  const py::list updates(iterable);
  if (updates.size() != clients.size())
    throw Error(Errc::kBadArgument, std::to_string(updates.size()) + " updates of " + std::to_string(clients.size()) + " clients");
  std::vector<Update> own;
  for (const py::handle& update : updates) own.emplace_back(codec, py::reinterpret_borrow<py::object>(update));
  std::vector<std::vector<std::byte>> frames(own.size());
  std::vector<std::exception_ptr> failures(own.size());
  const auto size = static_cast<std::uint32_t>(own.size());
  {
    const py::gil_scoped_release release;
    CallThreads(threads).run(own.size(), [&](std::size_t i) {
      try {
        const Cohort cohort = {static_cast<std::uint32_t>(i), size};
        frames[i] = codec.codec().encode(own[i].values(), {seed, round, clients[i], cohort});
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  }
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  py::list all;
  for (std::vector<std::byte>& frame : frames) {
    all.append(to_bytes(frame));
    frame = {};
  }
  return all;
}

py::tuple state_of(const TypedCodec& codec) {
  const py::object profile = codec.profile() ? py::object(to_bytes(codec.profile()->bytes())) : py::none();
  return py::make_tuple(codec.codec().plan(), codec.layout(), profile);
}

TypedCodec codec_of(const py::tuple& state) {
  TypedCodec codec(state[0].cast<std::string>(), state[1]);
  if (state[2].is_none()) return codec;
  return codec.with_profile(Profile::from_bytes(codec.codec().layout(), Bytes(state[2]).values()));
}

void bind_class_codec(py::module_& module) {
  py::class_<TypedCodec> type(module, "Codec", R"(A plan compiled for a layout. Immutable; may be used from several threads, pickled and copied.

plan: text, e.g. "trellis:bits=2" or "hadamard+quantize:bits=4"; fewbits.stages() and docs/codecs.md say what it may name.
layout: the number of coordinates; or a dict of the tensors' names with arrays, with shapes, or with (shape, dtype). Tensors of
    integers pass exactly, whatever the plan is; those of float16 and bfloat16 are coded as float32.

Raises Error (BAD_PLAN) with the position in the plan and what would be right.)");
  type.def(py::init<const std::string&, const py::object&>(), "plan"_a, "layout"_a)
      .def_property_readonly("plan", [](const TypedCodec& codec) { return codec.codec().plan(); },
                             "The canonical text: equal for plans that mean the same.")
      .def_property_readonly("layout", &TypedCodec::layout, "As the constructor takes it, with shapes.")
      .def_property_readonly("elements", [](const TypedCodec& codec) { return codec.codec().elements(); },
                             "Length of the vector that encode takes and decode gives.")
      .def_property_readonly("structured", [](const TypedCodec& codec) { return codec.codec().structured(); },
                             "Whether the plan trains in a structured family; the vector is then of its free parameters.")
      .def_property_readonly("takes_profile", [](const TypedCodec& codec) { return codec.codec().takes_profile(); },
                             "Whether a stage of the plan has scale=profile.")
      .def_property_readonly("fingerprint", [](const TypedCodec& codec) { return codec.codec().fingerprint(); },
                             "Hash of plan, layout and profile that every frame carries. Wishes such as bits= steer the encoder alone and are not in it.")
      .def_property_readonly("max_frame_size", [](const TypedCodec& codec) { return codec.codec().max_frame_size(); },
                             "Bytes; frames are never longer.")
      .def("describe", [](const TypedCodec& codec) { return to_dict(codec.codec().describe()); },
           "What the plan promises before anything is coded, by rule: a dict of bounds, bias and bytes.")
      .def("with_profile", &TypedCodec::with_profile, "profile"_a,
           R"(The same plan and layout with the scales that a server has learned, for stages with scale=profile.

Raises Error (BAD_ARGUMENT) for the profile of another layout.)")
      .def("encode_many", &encode_many, "updates"_a, py::kw_only(), "seed"_a, "round"_a, "clients"_a, "threads"_a = 0,
           R"(The frames of several clients of a round, as encode makes them, on several threads: a list of bytes.

updates: a list of what encode takes. clients: their ids; the cohort is made of them, in this order.
threads: that work at the same time; 0: one a core.)")
      .def("decode", [](const TypedCodec& codec, const py::object& frame, std::uint64_t seed, const Place& cohort) {
             const Bytes own(frame);
             std::vector<float> update;
             {
               const py::gil_scoped_release release;
               update = codec.codec().decode(own.values(), {seed, cohort_of(cohort)});
             }
             return to_array(std::move(update));
           }, "frame"_a, py::kw_only(), "seed"_a, "cohort"_a = Place(0, 1),
           R"(The update that a frame stands for: float32, shape [elements]; unflatten gives it names and shapes.

seed: as it was encoded with. A frame does not tell its seed: with another one some plans raise, others give other values.
Raises Error for every frame that an encoder of this plan (with whatever wish) could not have written with that seed.)")
      .def("flatten", [](const TypedCodec& codec, const py::object& tensors) { return to_array(codec.flatten(tensors)); }, "tensors"_a,
           "A dict of the layout's tensors as one vector: float32, shape [the layout's coordinates]. Integers become 16-bit parts.")
      .def("unflatten", &TypedCodec::unflatten, "vector"_a,
           R"(A vector (float32, shape [the layout's coordinates]) as a dict of the layout's tensors: float32 views of it, and copies of
integers in their own type, rounded to nearest.)")
      .def("__eq__", [](const TypedCodec& a, const py::object& b) {
             if (!py::isinstance<TypedCodec>(b)) return false;
             const Codec& other = b.cast<const TypedCodec&>().codec();
             // Wishes such as bits= are of the plan, not of the fingerprint.
             return a.codec().fingerprint() == other.fingerprint() && a.codec().plan() == other.plan();
           }, "other"_a)
      .def("__hash__", [](const TypedCodec& codec) { return py::hash(py::make_tuple(codec.codec().fingerprint(), codec.codec().plan())); })
      .def("__repr__", [](const TypedCodec& codec) {
             return "fewbits.Codec(" + std::string(py::repr(py::str(codec.codec().plan()))) + ", " + std::string(py::repr(codec.layout())) + ")";
           })
      .def(py::pickle(&state_of, &codec_of));
  def_encode(type, kEncode, [](const TypedCodec& codec, const py::object& update, const Context& context) {
    const Update own(codec, update);
    return write_bytes(codec.codec().max_frame_size(),
                       [&](std::span<std::byte> room) { return codec.codec().encode(own.values(), context, room); });
  });
}

void bind_class_encoder(py::module_& module) {
  py::class_<PyEncoder> type(module, "Encoder", R"(Encodes update after update, with the same bytes as Codec.encode, without allocating but for the frames.

One a thread, and one a client where a stage of the plan remembers (the warm start of lowrank).)");
  type.def(py::init([](const TypedCodec& codec) { return PyEncoder{codec, Encoder(codec.codec()), std::make_unique<std::mutex>()}; }), "codec"_a)
      .def_property_readonly("codec", [](const PyEncoder& self) { return self.codec; })
      .def("save", [](const PyEncoder& self) {
             const std::unique_lock lock = without_gil(*self.mutex);
             return to_bytes(self.encoder.save());
           },
           "What stages remember from frame to frame, as bytes.")
      .def("restore", [](PyEncoder& self, const py::object& state) {
             const Bytes own(state);
             const std::unique_lock lock = without_gil(*self.mutex);
             self.encoder.restore(own.values());
           }, "state"_a,
           "Undoes save. Raises Error (WRONG_PLAN) for the state of another codec, and for damaged bytes.");
  def_encode(type, kEncode, [](PyEncoder& self, const py::object& update, const Context& context) {
    const Update own(self.codec, update);
    return write_bytes(self.codec.codec().max_frame_size(), [&](std::span<std::byte> room) {
      const std::scoped_lock lock(*self.mutex);
      return self.encoder.encode(own.values(), context, room);
    });
  });
}

}  // namespace

void bind_codec(py::module_& module) {
  bind_class_codec(module);
  bind_class_encoder(module);
}

}  // namespace fewbits::python
