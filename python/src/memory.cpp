// What clients and servers remember from round to round.
#include <pybind11/stl.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "aggregator.h"
#include "bindings.h"
#include "fewbits/error_feedback.h"
#include "fewbits/profile.h"
#include "tensors.h"

namespace fewbits::python {
namespace {

using namespace py::literals;

struct PyErrorFeedback {
  TypedCodec codec;
  FeedbackOptions options;
  ErrorFeedback feedback;
  std::unique_ptr<std::mutex> mutex = std::make_unique<std::mutex>();   // as in PyAggregator
};

FeedbackOptions options_of(const std::string& method, std::optional<double> scale, const std::string& storage, double momentum,
                           bool masking, double decay, std::uint32_t max_age) {
  FeedbackOptions options;
  if (method != "ef14" && method != "ef21") throw py::value_error("method is '" + method + "', expected 'ef14' or 'ef21'");
  if (storage != "float32" && storage != "bfloat16")
    throw py::value_error("storage is '" + storage + "', expected 'float32' or 'bfloat16'");
  options.method = method == "ef21" ? FeedbackMethod::kEf21 : FeedbackMethod::kEf14;
  options.scale = scale;
  options.storage = storage == "bfloat16" ? StateStorage::kBFloat16 : StateStorage::kFloat32;
  options.momentum = momentum;
  options.masking = masking;
  options.decay = decay;
  options.max_age = max_age;
  return options;
}

void bind_feedback(py::module_& module) {
  py::class_<PyErrorFeedback> type(module, "ErrorFeedback", R"(A client's memory that makes up for the bias of a codec: what was not sent is sent later.

One a client. encode gives the frame; then commit when the server has added it, abandon when it was lost.

method: "ef14" keeps what was not sent (any server); "ef21" what the server has of this client (the server keeps the sum of all).
scale: the codec encodes scale times the message; None: the largest that makes it a contraction.
Of ef14 only: storage "float32" or "bfloat16", half the bytes; momentum over 0: the momentum correction of DGC, with masking;
decay: factor of the memory for each skipped round; max_age: rounds after which it is dropped, 0: never.

Source: Karimireddy et al. 2019, algorithm 2; Lin et al. 2018, section 3; Richtarik et al. 2021, algorithm 2.
Memory: 4 bytes a coordinate (2 as bfloat16), twice that with momentum; as much again while a frame is pending.
Raises Error (BAD_ARGUMENT) for options out of range and for structured codecs.)");
  type.def(py::init([](const TypedCodec& codec, const std::string& method, std::optional<double> scale, const std::string& storage,
                       double momentum, bool masking, double decay, std::uint32_t max_age) {
             const FeedbackOptions options = options_of(method, scale, storage, momentum, masking, decay, max_age);
             return PyErrorFeedback{codec, options, ErrorFeedback(codec.codec(), options), std::make_unique<std::mutex>()};
           }), "codec"_a, py::kw_only(), "method"_a = "ef14", "scale"_a = py::none(), "storage"_a = "float32", "momentum"_a = 0.0,
           "masking"_a = true, "decay"_a = 1.0, "max_age"_a = 0)
      .def("commit", [](PyErrorFeedback& self) {
             const std::unique_lock lock = without_gil(*self.mutex);
             self.feedback.commit();
           }, "The server has added the frame.")
      .def("abandon", [](PyErrorFeedback& self) {
             const std::unique_lock lock = without_gil(*self.mutex);
             self.feedback.abandon();
           },
           "The frame was lost: the memory is what it was before encode, and the update is forgotten.")
      .def_property_readonly("pending", [](const PyErrorFeedback& self) { return self.feedback.pending(); },
                             "Whether a frame waits for commit or abandon.")
      .def_property_readonly("round", [](const PyErrorFeedback& self) { return self.feedback.round(); }, "Of the last commit, or None.")
      .def_property_readonly("codec", [](const PyErrorFeedback& self) { return self.codec; })
      .def("memory", [](const PyErrorFeedback& self) {
             const std::unique_lock lock = without_gil(*self.mutex);
             return to_array(self.feedback.memory());
           },
           "As of the last commit: float32, shape [codec.elements].")
      .def("set_codec", [](PyErrorFeedback& self, const TypedCodec& codec) {
             const std::unique_lock lock = without_gil(*self.mutex);
             self.feedback.set_codec(codec.codec());
             self.codec = codec;
           }, "codec"_a, "Goes on with another codec of the same layout, such as one with a newer profile.")
      .def("save", [](const PyErrorFeedback& self) {
             const std::unique_lock lock = without_gil(*self.mutex);
             return to_bytes(self.feedback.save());
           }, "State as of the last commit, as bytes.")
      .def("restore", [](PyErrorFeedback& self, const py::object& state) {
             const Bytes own(state);
             const std::unique_lock lock = without_gil(*self.mutex);
             self.feedback = ErrorFeedback::restore(self.codec.codec(), own.values(), self.options);
           }, "state"_a,
           R"(Undoes save, of one with the same codec and options: goes on with the same bits. A pending frame is forgotten.

Raises Error for damaged bytes, and those of another codec, method, momentum or storage; nothing has changed then.)");
  def_encode(type, R"(The frame to upload. The memory stays as it is until commit.

Arguments are those of Codec.encode. Raises Error (WRONG_ROUND) for a round not after the last committed one, (BAD_ARGUMENT) while
another frame is pending, and what Codec.encode raises; nothing has changed then.)",
             [](PyErrorFeedback& self, const py::object& update, const Context& context) {
               const Update own(self.codec, update);
               std::vector<std::byte> frame;
               {
                 const py::gil_scoped_release release;
                 const std::scoped_lock lock(*self.mutex);
                 frame = self.feedback.encode(own.values(), context);
               }
               return to_bytes(frame);
             });
}

void bind_profile(py::module_& module) {
  py::class_<Profile>(module, "Profile", R"(The scales of a layout's tensors that a server has learned: what scale=profile codes with.

A small byte string that goes down with the model. Immutable. Made by ProfileLearner.)")
      .def_static("flat", [](const TypedCodec& codec) { return Profile::flat(codec.codec().layout()); }, "codec"_a,
                  "All scales the same: what a codec without a profile has.")
      .def_static("from_bytes", [](const TypedCodec& codec, const py::object& bytes) {
             return Profile::from_bytes(codec.codec().layout(), Bytes(bytes).values());
           }, "codec"_a, "bytes"_a, "Undoes bytes. Raises Error for bytes that are damaged, or of another layout.")
      .def_property_readonly("bytes", [](const Profile& profile) { return to_bytes(profile.bytes()); })
      .def_property_readonly("is_flat", &Profile::is_flat)
      .def_property_readonly("has_common_step", &Profile::has_common_step,
                             "Whether all clients code with the same steps, which are in the profile.")
      .def("with_common_step", [](const Profile& profile, const TypedCodec& codec) { return profile.with_common_step(codec.codec()); },
           "codec"_a, R"(With the steps at which an update of these scales would take what the plan wishes by bits= or nmse=.

Raises Error (BAD_ARGUMENT) for a flat profile, and where no stage of the plan has scale=profile.)");

  py::class_<ProfileLearner>(module, "ProfileLearner", R"(Learns a profile from round to round, at the server.

memory: weight of the past against a new round, in [0, 1). floor: no row, column or vector has less than this share of the mean energy.)")
      .def(py::init([](const TypedCodec& codec, double memory, double floor) {
             return ProfileLearner(codec.codec().layout(), {memory, floor});
           }), "codec"_a, py::kw_only(), "memory"_a = ProfileLearner::Options{}.memory, "floor"_a = ProfileLearner::Options{}.floor)
      .def("learn", [](ProfileLearner& learner, const PyAggregator& round) {
             const std::unique_lock lock = without_gil(*round.mutex);
             learner.learn(round.sum);
           }, "round"_a)
      .def("learn", [](ProfileLearner& learner, const py::object& mean) { learner.learn(FloatArray(mean, "the mean").values()); }, "mean"_a,
           R"(From a round's Aggregator, whose frames tell of the updates' energies; or from a mean alone (float32, shape [the layout's
coordinates]), whose noise is then taken for energy.

Raises Error (BAD_ARGUMENT) where the frames' plan keeps no energies, (EMPTY) before the first client.)")
      .def_property_readonly("rounds", &ProfileLearner::rounds)
      .def("profile", &ProfileLearner::profile, "Flat before the first round.")
      .def("save", [](const ProfileLearner& learner) { return to_bytes(learner.save()); }, "Everything that later profiles depend on, as bytes.")
      .def("restore", [](ProfileLearner& learner, const py::object& state) { learner.restore(Bytes(state).values()); }, "state"_a,
           "Undoes save. Raises Error for damaged bytes, or those of another layout.");
}

}  // namespace

void bind_memory(py::module_& module) {
  bind_profile(module);
  bind_feedback(module);
}

}  // namespace fewbits::python
