#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "fewbits/federated/model.h"
#include "tensors.h"

namespace fewbits::python {

// A Python object that threads without the interpreter's lock may let go.
using SharedObject = std::shared_ptr<const py::object>;
SharedObject shared_object(py::object object);

// How examples look to the user, whose arrays the harness sees as rows of floats.
struct ExampleForm {
  std::vector<py::ssize_t> x;   // shape of one
  std::vector<py::ssize_t> y;
  bool whole_targets = false;   // they are shown as int64
};

// An object of the user's with `initial`, `loss_and_gradient` and `score` (fewbits.federated says what they are), and what
// is known of it once for all threads.
class UserModel {
 public:
  // TypeError for an object without these, kNotFinite, and as TypedCodec throws for `initial`.
  UserModel(const py::object& object, ExampleForm form);

  const TypedCodec& tensors() const noexcept { return tensors_; }
  const std::vector<float>& initial() const noexcept { return initial_; }
  const ExampleForm& form() const noexcept { return form_; }
  federated::Metric metric() const noexcept { return {name_, higher_is_better_, root_}; }

  // With the interpreter's lock.
  py::object call(const char* method, const py::dict& parameters, const federated::Examples& examples) const;

 private:
  SharedObject object_;
  ExampleForm form_;
  TypedCodec tensors_;
  std::vector<float> initial_;
  std::string name_ = "accuracy";
  bool higher_is_better_ = true;
  bool root_ = false;
};

// Its functions are called with the interpreter's lock, and what they raise is thrown as py::error_already_set.
federated::ModelFactory factory_of(std::shared_ptr<const UserModel> model);

}  // namespace fewbits::python
