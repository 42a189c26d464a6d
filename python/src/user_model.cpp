#include "user_model.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

namespace fewbits::python {
namespace {

constexpr const char* kLossAndGradient = "loss_and_gradient";
constexpr const char* kScore = "score";

TypedCodec tensors_of(const py::object& object) {
  for (const char* name : {"initial", kLossAndGradient, kScore})
    if (!py::hasattr(object, name))
      throw py::type_error("a model is text, or an object with initial, loss_and_gradient and score: this " + type_name(object) + " has no " + name);
  const py::object initial = object.attr("initial");
  if (!py::hasattr(initial, "items")) throw py::type_error("initial must be a dict of names with arrays, not " + type_name(initial));
  TypedCodec tensors("f32", initial);
  for (const TypedCodec::Tensor& tensor : tensors.tensors())
    if (tensor.dtype != "float32") throw py::type_error("tensor '" + tensor.name + "' of initial is of " + tensor.dtype + ": only floats are trained");
  return tensors;
}

// New memory of the interpreter's: the user may keep it.
template <class Value>
py::array_t<Value> array_of(std::span<const float> values, const std::vector<py::ssize_t>& form, std::size_t rows) {
  std::vector<py::ssize_t> shape = {static_cast<py::ssize_t>(rows)};
  shape.insert(shape.end(), form.begin(), form.end());
  py::array_t<Value> array(shape);
  std::ranges::transform(values, array.mutable_data(), [](float value) { return static_cast<Value>(value); });
  return array;
}

std::size_t size_of(const std::vector<py::ssize_t>& shape) {
  std::size_t size = 1;
  for (const py::ssize_t axis : shape) size *= static_cast<std::size_t>(axis);
  return size;
}

py::tuple pair_of(const py::object& result, const char* method, const char* what) {
  if (!py::isinstance<py::tuple>(result) || py::len(result) != 2)
    throw py::type_error(std::string(method) + " must return a tuple " + what + ", not " + std::string(py::repr(py::type::of(result))));
  return result;
}

double number_of(const py::object& object, const char* what) {
  const double value = PyFloat_AsDouble(object.ptr());
  if (value == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw py::type_error(std::string(what) + " must be a number, not " + type_name(object));
  }
  return value;
}

class Adapter final : public federated::Model {
 public:
  explicit Adapter(std::shared_ptr<const UserModel> user) : user_(std::move(user)) {}
  ~Adapter() override {
    const py::gil_scoped_acquire acquire;
    parameters_ = {};
    views_ = {};
  }
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;

  const Layout& layout() const noexcept override { return user_->tensors().codec().layout(); }
  federated::Metric metric() const noexcept override { return user_->metric(); }

  void initialize(std::uint64_t, std::span<float> parameters) const override {
    std::ranges::copy(user_->initial(), parameters.begin());
  }

  double loss_and_gradient(std::span<const float> parameters, const federated::Examples& batch,
                           std::span<float> gradient) override {
    const py::gil_scoped_acquire acquire;
    const py::tuple result = pair_of(user_->call(kLossAndGradient, shown(parameters), batch), kLossAndGradient, "(loss, gradient)");
    const double loss = number_of(result[0], "the loss");
    if (!py::hasattr(result[1], "items"))
      throw py::type_error("the gradient must be a dict of arrays, as the parameters are, not " + type_name(result[1]));
    std::ranges::copy(user_->tensors().flatten(result[1], "the gradient"), gradient.begin());
    return loss;
  }

  federated::Score score(std::span<const float> parameters, const federated::Examples& examples) override {
    const py::gil_scoped_acquire acquire;
    const py::tuple result = pair_of(user_->call(kScore, shown(parameters), examples), kScore, "(sum, count)");
    return {.sum = number_of(result[0], "the score's sum"), .weight = number_of(result[1], "the score's count")};
  }

 private:
  // In memory that lives as long as the user keeps it, for a view that has outlived its call must not be wild.
  py::dict shown(std::span<const float> parameters) {
    if (!parameters_) {
      parameters_ = py::array_t<float>(static_cast<py::ssize_t>(parameters.size()));
      views_ = user_->tensors().unflatten(*parameters_);
    }
    std::ranges::copy(parameters, parameters_->mutable_data());
    return views_->attr("copy")();
  }

  std::shared_ptr<const UserModel> user_;
  std::optional<py::array_t<float>> parameters_;
  std::optional<py::dict> views_;
};

}  // namespace

SharedObject shared_object(py::object object) {
  return {new py::object(std::move(object)), [](const py::object* held) {
            const py::gil_scoped_acquire acquire;
            delete held;
          }};
}

UserModel::UserModel(const py::object& object, ExampleForm form)
    : object_(shared_object(object)), form_(std::move(form)), tensors_(tensors_of(object)),
      initial_(tensors_.flatten(object.attr("initial"), "initial")) {
  if (!std::ranges::all_of(initial_, [](float value) { return std::isfinite(value); }))
    throw Error(Errc::kNotFinite, "initial has a value that is NaN or infinite");
  name_ = py::str(py::getattr(object, "metric", py::str(name_)));
  higher_is_better_ = py::bool_(py::getattr(object, "higher_is_better", py::bool_(true)));
  root_ = py::bool_(py::getattr(object, "root", py::bool_(false)));
}

py::object UserModel::call(const char* method, const py::dict& parameters, const federated::Examples& examples) const {
  const std::size_t rows = examples.y.size() / size_of(form_.y);
  const py::object x = array_of<float>(examples.x, form_.x, rows);
  const py::object y = form_.whole_targets ? py::object(array_of<std::int64_t>(examples.y, form_.y, rows))
                                           : py::object(array_of<float>(examples.y, form_.y, rows));
  return object_->attr(method)(parameters, x, y);
}

federated::ModelFactory factory_of(std::shared_ptr<const UserModel> model) {
  return [model = std::move(model)]() -> std::unique_ptr<federated::Model> { return std::make_unique<Adapter>(model); };
}

}  // namespace fewbits::python
