#include <algorithm>
#include <string>
#include <utility>

#include "datasets/spec.h"
#include "federated/dense.h"
#include "fewbits/error.h"
#include "fewbits/federated/model.h"

namespace fewbits::federated {
namespace {

using datasets::Spec;

constexpr std::uint64_t kMostHidden = 65536;

ModelFactory softmax(const Spec&, std::size_t features, std::size_t classes) {
  return [=] { return make_dense(features, {}, classes); };
}

ModelFactory mlp(const Spec& spec, std::size_t features, std::size_t classes) {
  const auto hidden = static_cast<std::size_t>(spec.integer("hidden", 1, kMostHidden, 200));
  return [=] { return make_dense(features, {hidden}, classes); };
}

struct Entry {
  const char* name;
  const char* form;
  const char* summary;
  std::vector<std::string> parameters;
  ModelFactory (*make)(const Spec&, std::size_t features, std::size_t classes);
};

// THE list of models: a new one is a line here, and a class that implements Model.
const std::vector<Entry>& entries() {
  static const std::vector<Entry> list = {
      {"mlp", "mlp[:hidden=200]", "one hidden layer, ReLU, softmax", {"hidden"}, mlp},
      {"softmax", "softmax", "softmax regression", {}, softmax},
  };
  return list;
}

}  // namespace

ModelFactory model_factory(std::string_view text, std::size_t features, std::size_t classes) {
  if (features == 0 || classes < 2) {
    throw Error(Errc::kBadArgument, "a model of " + std::to_string(features) + " features and " +
                                        std::to_string(classes) + " classes; at least 1 and 2 are needed");
  }
  const Spec spec("model", text);
  std::string choices;
  for (const Entry& entry : entries()) {
    if (spec.name() == entry.name) {
      spec.allow_only(entry.parameters);
      return entry.make(spec, features, classes);
    }
    choices += (choices.empty() ? "" : ", ") + std::string(entry.form);
  }
  throw Error(Errc::kBadArgument, "model '" + spec.name() + "' is not known; choose one of: " + choices);
}

std::vector<ModelInfo> models() {
  std::vector<ModelInfo> list;
  for (const Entry& entry : entries()) list.push_back({entry.name, entry.form, entry.summary});
  return list;
}

}  // namespace fewbits::federated
