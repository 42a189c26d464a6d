// fewbits._federated: the harness in Python. A module of its own, so that no other part loads what the harness stands on.
#include "fewbits/federated/federated.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings.h"
#include "datasets/partition.h"
#include "errors.h"
#include "federated/plan_entry.h"
#include "fewbits/federated/summary.h"
#include "tensors.h"
#include "user_model.h"

namespace fewbits::python {
namespace {

using namespace py::literals;
using federated::Options;
using federated::PlanOptions;
using federated::RoundResult;

[[noreturn]] void refuse(const std::string& what) { throw Error(Errc::kBadArgument, what); }

// What is None keeps its value.
template <class Value>
void read(const py::dict& given, const char* name, Value& into) {
  const py::object value = given[name];
  if (value.is_none()) return;
  try {
    into = value.cast<Value>();
  } catch (const py::cast_error&) {
    throw py::type_error(std::string(name) + " is " + std::string(py::repr(value)) + ", expected " +
                         (std::is_floating_point_v<Value> ? "a number" : std::is_integral_v<Value> ? "a whole number from 0 on" : "text"));
  }
}

void one_of(const py::dict& given, const char* name, std::initializer_list<std::string_view> words, std::string& word) {
  read(given, name, word);
  if (std::ranges::find(words, word) != words.end()) return;
  std::string all;
  for (const std::string_view each : words) all += (all.empty() ? "'" : ", '") + std::string(each) + "'";
  refuse(std::string(name) + " is '" + word + "', expected one of " + all);
}

// As `fewbits train` does, without a norm nothing else of privacy may be asked for.
void read_privacy(const py::dict& given, Options& options) {
  federated::PrivacyOptions privacy;
  std::string clip_by = "whole", noise_by = "server";
  one_of(given, "clip_by", {"whole", "tensor", "median"}, clip_by);
  one_of(given, "noise_by", {"server", "clients"}, noise_by);
  if (!given["epsilon"].is_none()) read(given, "epsilon", privacy.epsilon.emplace());
  read(given, "delta", privacy.delta);
  read(given, "noise_multiplier", privacy.noise_multiplier);
  read(given, "examples_cap", privacy.examples_cap);
  privacy.per_tensor = clip_by == "tensor";
  privacy.adaptive = clip_by == "median";
  privacy.noise_by_clients = noise_by == "clients";
  if (given["clip"].is_none()) {
    for (const auto& [name, asked] : {std::pair("clip_by", clip_by != "whole"), std::pair("noise_by", privacy.noise_by_clients),
                                      std::pair("epsilon", privacy.epsilon.has_value()), std::pair("delta", privacy.delta != 0),
                                      std::pair("noise_multiplier", privacy.noise_multiplier != 0), std::pair("examples_cap", privacy.examples_cap != 0)})
      if (asked) refuse(std::string(name) + " needs clip, the norm to which updates are clipped");
    return;
  }
  read(given, "clip", privacy.clip);
  options.privacy = privacy;
}

void read_secure(const py::dict& given, Options& options) {
  bool secure = false;
  read(given, "secure", secure);
  federated::SecureOptions own;
  read(given, "secure_bits", own.bits);
  read(given, "min_cohort", own.min_cohort);
  read(given, "transcript", own.transcript);
  if (secure)
    options.secure = own;
  else if (!own.transcript.empty())
    refuse("transcript needs secure");
}

Options options_of(const py::dict& given) {
  Options options;
  read(given, "seed", options.seed);
  read(given, "rounds", options.rounds);
  read(given, "clients_per_round", options.clients_per_round);
  if (!given["client_probability"].is_none()) read(given, "client_probability", options.client_probability.emplace());
  read(given, "epochs", options.epochs);
  read(given, "batch", options.batch);
  read(given, "eval_every", options.eval_every);
  read(given, "eval_examples", options.eval_examples);
  read(given, "stream", options.stream);
  read(given, "threads", options.threads);
  read_privacy(given, options);
  read_secure(given, options);
  if (!given["links"].is_none()) {
    std::string links;
    read(given, "links", links);
    options.links = federated::parse_links(links);
  }
  return options;
}

PlanOptions plan_options_of(const py::dict& given) {
  PlanOptions options;
  std::string server = "sgd";
  read(given, "learning_rate", options.learning_rate);
  read(given, "learning_rate_decay", options.learning_rate_decay);
  read(given, "server_learning_rate", options.server_learning_rate);
  read(given, "server_momentum", options.server_momentum);
  read(given, "server_beta2", options.server_beta2);
  read(given, "server_tau", options.server_tau);
  read(given, "average", options.average);
  read(given, "prox", options.prox);
  read(given, "downlink", options.downlink);
  read(given, "server", server);
  options.server = federated::server_optimizer(server);
  return options;
}

std::vector<std::uint32_t> checked_rows(const py::object& given, std::size_t client, std::size_t rows) {
  const py::array array = py::module_::import("numpy").attr("asarray")(given);
  const std::string whose = "rows of client " + std::to_string(client);
  if (array.ndim() != 1) throw py::type_error(whose + " must be a list or an array of one axis");
  if (array.size() == 0) return {};
  if (array.dtype().kind() != 'i' && array.dtype().kind() != 'u') throw py::type_error(whose + " are of " + dtype_name(array) + ", expected whole numbers");
  const auto numbers = array.cast<py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>>();
  std::vector<std::uint32_t> all;
  for (py::ssize_t i = 0; i < numbers.size(); ++i) {
    const std::int64_t row = numbers.data()[i];
    if (row < 0 || static_cast<std::size_t>(row) >= rows) refuse(whose + ": there is no row " + std::to_string(row) + ", only " + std::to_string(rows));
    all.push_back(static_cast<std::uint32_t>(row));
  }
  return all;
}

// Lists are read once, other sequences each time that a client takes part.
federated::Clients clients_of(const py::object& given, std::size_t rows) {
  if (!py::hasattr(given, "__len__") || !py::hasattr(given, "__getitem__"))
    throw py::type_error("clients must be a list of each client's rows, or a sequence that gives them, not " + type_name(given));
  const std::size_t count = py::len(given);
  if (py::isinstance<py::list>(given) || py::isinstance<py::tuple>(given)) {
    std::vector<std::vector<std::uint32_t>> all;
    for (const py::handle& own : given) all.push_back(checked_rows(py::reinterpret_borrow<py::object>(own), all.size(), rows));
    return federated::listed_clients(std::move(all));
  }
  const auto rows_of = [sequence = shared_object(given), rows](std::uint32_t client) {
    const py::gil_scoped_acquire acquire;
    return checked_rows((*sequence)[py::int_(client)], client, rows);
  };
  return {.count = count, .size = [rows_of](std::uint32_t client) { return rows_of(client).size(); }, .rows = rows_of};
}

// float32 arrays of shape [rows, ...], read in place as long as this lives.
class ExampleArrays {
 public:
  ExampleArrays(const py::tuple& pair, const std::string& name)
      : x_(pair[0], name + " x"), y_(pair[1], name + " y"), x_shape_(shape_of(pair[0])), y_shape_(shape_of(pair[1])) {
    if (x_shape_.empty() || y_shape_.empty() || x_shape_[0] != y_shape_[0])
      refuse(name + ": x and y are not of as many rows");
    for (const FloatArray* array : {&x_, &y_})
      for (const float value : array->values())
        if (!std::isfinite(value)) throw Error(Errc::kNotFinite, name + " has a value that is NaN or infinite");
  }

  federated::Table table() const { return {.x = x_.values(), .y = y_.values()}; }
  std::size_t rows() const { return static_cast<std::size_t>(x_shape_[0]); }
  std::vector<py::ssize_t> x_form() const { return {x_shape_.begin() + 1, x_shape_.end()}; }
  std::vector<py::ssize_t> y_form() const { return {y_shape_.begin() + 1, y_shape_.end()}; }

 private:
  static std::vector<py::ssize_t> shape_of(const py::object& array) { return array.attr("shape").cast<std::vector<py::ssize_t>>(); }

  FloatArray x_, y_;
  std::vector<py::ssize_t> x_shape_, y_shape_;
};

std::size_t product(const std::vector<py::ssize_t>& shape) {
  std::size_t size = 1;
  for (const py::ssize_t axis : shape) size *= static_cast<std::size_t>(axis);
  return size;
}

// Built-in models take them for places in their vectors.
void check_numbers(std::span<const float> values, std::size_t end, const std::string& what) {
  if (end == 0) return;
  for (const float value : values)
    if (value < 0 || value >= static_cast<float>(end) || value != std::floor(value))
      refuse(what + " has " + std::to_string(value) + ", expected whole numbers from 0 to " + std::to_string(end - 1));
}

py::dict layout_of(const Layout& layout) {
  py::dict all;
  for (const Tensor& tensor : layout.tensors()) all[py::str(tensor.name)] = py::tuple(py::cast(tensor.shape));
  return all;
}

py::dict to_dict(const RoundResult& r) {
  return py::dict("round"_a = r.round, "score"_a = r.score, "loss"_a = r.loss, "clients"_a = r.clients, "asked"_a = r.asked,
                  "examples"_a = r.examples, "frames"_a = r.frames, "upload_bytes"_a = r.upload_bytes, "wasted_bytes"_a = r.wasted_bytes, "epsilon"_a = r.epsilon, "clip"_a = r.clip,
                  "download_bytes"_a = r.download_bytes, "simulated_seconds"_a = r.simulated_seconds, "seconds"_a = r.seconds,
                  "train_seconds"_a = r.train_seconds, "encode_seconds"_a = r.encode_seconds, "decode_seconds"_a = r.decode_seconds);
}

class PyTrainer {
 public:
  PyTrainer(const py::object& model, const py::tuple& train, const py::tuple& test, const py::object& clients, const std::string& plan,
            const py::object& start, const py::dict& given)
      : train_(train, "train"), test_(test, "test") {
    if (train_.x_form() != test_.x_form() || train_.y_form() != test_.y_form()) refuse("train and test examples are not of one shape");
    federated::ExampleShape shape{.features = product(train_.x_form()), .targets = product(train_.y_form())};
    read(given, "classes", shape.classes);
    read(given, "tokens", shape.tokens);
    task_.shape = shape;
    shape.sample = test_.table().x.first(std::min(test_.rows(), kSampleRows) * shape.features);
    bool whole_targets = false;
    read(given, "whole_targets", whole_targets);
    if (py::isinstance<py::str>(model)) {
      for (const auto& [name, table] : {std::pair("train", train_.table()), std::pair("test", test_.table())}) {
        check_numbers(table.x, shape.tokens, std::string(name) + " x");
        check_numbers(table.y, shape.classes, std::string(name) + " y");
      }
      task_.model = federated::model_factory(model.cast<std::string>(), shape);
    } else {
      task_.model = factory_of(std::make_shared<const UserModel>(model, ExampleForm{train_.x_form(), train_.y_form(), whole_targets}));
    }
    task_.train = train_.table();
    task_.test = test_.table();
    task_.clients = clients_of(clients, train_.rows());
    tensors_.emplace("f32", layout_of(task_.model()->layout()));
    if (!start.is_none()) start_ = tensors_->flatten(start, "start");
    task_.start = start_;
    Options options = options_of(given);
    if (given["clients_per_round"].is_none()) options.clients_per_round = std::min(options.clients_per_round, task_.clients.count);
    const federated::PlanEntry entry = federated::parse_plan_entry(plan, plan_options_of(given));
    if (entry.clients_per_round) options.clients_per_round = *entry.clients_per_round;
    trainer_.emplace(task_, options, entry.options);
  }

  py::object step() {
    const Busy busy(*this);
    std::optional<RoundResult> result;
    {
      const py::gil_scoped_release release;
      result = trainer_->step();
    }
    return result ? py::object(to_dict(*result)) : py::none();
  }

  void observe(std::size_t clients, const py::object& see) {
    std::function<void(const federated::ClientUpdate&)> shown;
    if (!see.is_none())
      shown = [call = shared_object(see)](const federated::ClientUpdate& update) {
        const py::gil_scoped_acquire acquire;
        (*call)(update.round, update.client, to_array({update.values.begin(), update.values.end()}));
      };
    idle().observe(clients, std::move(shown));
  }

  py::dict parameters() { return to_tensors(idle().parameters()); }
  py::dict released() { return to_tensors(idle().released()); }
  py::object layout() const { return tensors_->layout(); }
  py::bytes save() { return to_bytes(idle().save()); }
  void restore(const py::object& state) { idle().restore(Bytes(state).values()); }

  // Not in the middle of a step, in which other threads, and the user's functions, may call.
  federated::Trainer& idle() {
    if (stepping_) throw std::runtime_error("the trainer is in the middle of a step");
    return *trainer_;
  }

 private:
  static constexpr std::size_t kSampleRows = 1000;   // as `fewbits train`

  struct Busy {
    explicit Busy(PyTrainer& trainer) : own(trainer) {
      own.idle();
      own.stepping_ = true;
    }
    ~Busy() { own.stepping_ = false; }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    PyTrainer& own;
  };

  py::dict to_tensors(std::span<const float> values) const { return tensors_->unflatten(to_array({values.begin(), values.end()})); }

  ExampleArrays train_, test_;
  std::vector<float> start_;
  std::optional<TypedCodec> tensors_;   // of the model, for its names
  federated::Task task_;
  std::optional<federated::Trainer> trainer_;
  bool stepping_ = false;   // seen and changed with the interpreter's lock
};

RoundResult result_of(const py::dict& given) {
  RoundResult r;
  read(given, "round", r.round);
  if (!given["score"].is_none()) read(given, "score", r.score.emplace());
  read(given, "frames", r.frames);
  read(given, "upload_bytes", r.upload_bytes);
  read(given, "wasted_bytes", r.wasted_bytes);
  read(given, "download_bytes", r.download_bytes);
  read(given, "simulated_seconds", r.simulated_seconds);
  read(given, "train_seconds", r.train_seconds);
  read(given, "encode_seconds", r.encode_seconds);
  read(given, "decode_seconds", r.decode_seconds);
  return r;
}

py::dict summarize(const std::vector<py::dict>& rounds, std::size_t coordinates, bool higher_is_better, std::optional<double> target) {
  std::vector<RoundResult> all;
  for (const py::dict& round : rounds) all.push_back(result_of(round));
  const federated::Summary s = federated::summarize(all, coordinates, {.higher_is_better = higher_is_better}, target);
  return py::dict("best_score"_a = s.best_score, "final_score"_a = s.final_score, "rounds_to_target"_a = s.rounds_to_target,
                  "upload_bytes_to_target"_a = s.upload_bytes_to_target, "download_bytes_to_target"_a = s.download_bytes_to_target,
                  "simulated_seconds_to_target"_a = s.simulated_seconds_to_target, "upload_bytes"_a = s.upload_bytes,
                  "wasted_bytes"_a = s.wasted_bytes, "download_bytes"_a = s.download_bytes, "simulated_seconds"_a = s.simulated_seconds,
                  "bits_per_coordinate"_a = s.bits_per_coordinate, "train_seconds"_a = s.train_seconds,
                  "encode_seconds"_a = s.encode_seconds, "decode_seconds"_a = s.decode_seconds, "codec_time_share"_a = s.codec_time_share);
}

std::vector<py::array_t<std::uint32_t>> partition(const std::string& how, const py::object& labels, std::size_t classes, std::size_t clients,
                                                  std::uint64_t seed) {
  std::vector<py::array_t<std::uint32_t>> all;
  for (const auto& rows : datasets::make_partition(how, FloatArray(labels, "labels").values(), classes, clients, seed))
    all.emplace_back(static_cast<py::ssize_t>(rows.size()), rows.data());
  return all;
}

py::list models() {
  py::list all;
  for (const federated::ModelInfo& model : federated::models())
    all.append(py::dict("name"_a = model.name, "form"_a = model.form, "summary"_a = model.summary));
  return all;
}

void bind_trainer(py::module_& module) {
  py::class_<PyTrainer>(module, "Trainer")
      .def(py::init<const py::object&, const py::tuple&, const py::tuple&, const py::object&, const std::string&, const py::object&, const py::dict&>(),
           "model"_a, "train"_a, "test"_a, "clients"_a, "plan"_a, "start"_a, "options"_a)
      .def("step", &PyTrainer::step)
      .def("observe", &PyTrainer::observe, "clients"_a, "see"_a)
      .def("parameters", &PyTrainer::parameters)
      .def("released", &PyTrainer::released)
      .def("save", &PyTrainer::save)
      .def("restore", &PyTrainer::restore, "state"_a)
      .def_property_readonly("round", [](PyTrainer& self) { return self.idle().round(); })
      .def_property_readonly("done", [](PyTrainer& self) { return self.idle().done(); })
      .def_property_readonly("stopped", [](PyTrainer& self) { return self.idle().stopped(); })
      .def_property_readonly("plan", [](PyTrainer& self) { return self.idle().codec().plan(); })
      .def_property_readonly("layout", &PyTrainer::layout)
      .def_property_readonly("noise_multiplier", [](PyTrainer& self) { return self.idle().noise_multiplier(); })
      .def_property_readonly("metric", [](PyTrainer& self) { return std::string(self.idle().metric().name); })
      .def_property_readonly("higher_is_better", [](PyTrainer& self) { return self.idle().metric().higher_is_better; });
}

}  // namespace
}  // namespace fewbits::python

PYBIND11_MODULE(_federated, module) {
  using namespace pybind11::literals;
  module.doc() = "The harness; import fewbits.federated, not this.";
  fewbits::python::register_errors();
  fewbits::python::bind_trainer(module);
  module.def("summarize", &fewbits::python::summarize, "rounds"_a, "coordinates"_a, "higher_is_better"_a, "target"_a);
  module.def("partition", &fewbits::python::partition, "how"_a, "labels"_a, "classes"_a, "clients"_a, "seed"_a);
  module.def("models", &fewbits::python::models);
}
