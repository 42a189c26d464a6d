#include <charconv>
#include <string>
#include <utility>

#include "datasets/spec.h"
#include "federated/convolutional.h"
#include "federated/dense.h"
#include "fewbits/error.h"
#include "fewbits/federated/model.h"

namespace fewbits::federated {
namespace {

using datasets::Spec;

constexpr std::uint64_t kMostHidden = 65536;
constexpr std::uint64_t kMostChannels = 1024;

// A model whose text is understood, for data of any size. May throw kBadArgument for one that does not fit.
using Shaped = std::function<ModelFactory(const ExampleShape&)>;

// For models that put vectors of values into one of some classes.
void require_classes(const std::string& model, const ExampleShape& shape) {
  if (shape.classes >= 2 && shape.tokens == 0 && shape.targets == 1) return;
  throw Error(Errc::kBadArgument, "model '" + model + "' is for values that are put into classes; these examples have " +
                                      (shape.tokens > 0 ? "numbers of tokens or columns"
                                       : shape.targets > 1 ? "several targets"
                                                           : "fewer than two classes"));
}

Shaped softmax(const Spec& spec) {
  return [text = spec.text()](const ExampleShape& shape) -> ModelFactory {
    require_classes(text, shape);
    return [=] { return std::make_unique<Dense>(shape.features, std::vector<std::size_t>(), shape.classes); };
  };
}

Shaped mlp(const Spec& spec) {
  const std::vector<std::size_t> hidden{static_cast<std::size_t>(spec.integer("hidden", 1, kMostHidden, 200))};
  return [hidden, text = spec.text()](const ExampleShape& shape) -> ModelFactory {
    require_classes(text, shape);
    return [=] { return std::make_unique<Dense>(shape.features, hidden, shape.classes); };
  };
}

// "16-32".
std::vector<std::size_t> parse_channels(const Spec& spec) {
  std::vector<std::size_t> channels;
  const std::string& text = spec.value("channels");
  for (const char *at = text.data(), *const end = text.data() + text.size();; ++at) {
    std::uint64_t count = 0;
    const auto [stop, error] = std::from_chars(at, end, count);
    if (error != std::errc() || count < 1 || count > kMostChannels || (stop != end && *stop != '-')) {
      throw Error(Errc::kBadArgument, "model '" + spec.text() + "': 'channels' is '" + text +
                                          "', expected integers from 1 to " + std::to_string(kMostChannels) +
                                          " with - between them, one a convolution, as in 16-32");
    }
    channels.push_back(static_cast<std::size_t>(count));
    if (stop == end) return channels;
    at = stop;
  }
}

Shaped cnn(const Spec& spec) {
  const auto channels = spec.has("channels") ? parse_channels(spec) : std::vector<std::size_t>{16, 32};
  const auto hidden = static_cast<std::size_t>(spec.integer("hidden", 1, kMostHidden, 64));
  return [=, text = spec.text()](const ExampleShape& shape) -> ModelFactory {
    require_classes(text, shape);
    const std::size_t features = shape.features;
    std::size_t side = 1;
    while (side * side < features) ++side;
    if (side * side != features) {
      throw Error(Errc::kBadArgument, "model '" + text + "' is for square images; examples have " +
                                          std::to_string(features) + " features, which is no square");
    }
    if (channels.size() >= 64 || side >> channels.size() == 0) {
      throw Error(Errc::kBadArgument, "model '" + text + "' halves images of " + std::to_string(side) + "x" +
                                          std::to_string(side) + " pixels " + std::to_string(channels.size()) +
                                          " times; give fewer channels");
    }
    return [=] { return std::make_unique<Convolutional>(side, channels, hidden, shape.classes); };
  };
}

struct Entry {
  const char* name;
  const char* form;
  const char* summary;
  std::vector<std::string> parameters;
  Shaped (*parse)(const Spec&);
};

// THE list of models: a new one is a line here, and a class that implements Model.
const std::vector<Entry>& entries() {
  static const std::vector<Entry> list = {
      {"cnn", "cnn[:channels=16-32,hidden=64]",
       "3x3 convolutions of square images, each with ReLU and 2x2 maxima, one hidden layer, softmax",
       {"channels", "hidden"}, cnn},
      {"mlp", "mlp[:hidden=200]", "one hidden layer, ReLU, softmax", {"hidden"}, mlp},
      {"softmax", "softmax", "softmax regression", {}, softmax},
  };
  return list;
}

Shaped parse(std::string_view text) {
  const Spec spec("model", text);
  std::string choices;
  for (const Entry& entry : entries()) {
    if (spec.name() == entry.name) {
      spec.allow_only(entry.parameters);
      return entry.parse(spec);
    }
    choices += (choices.empty() ? "" : ", ") + std::string(entry.form);
  }
  throw Error(Errc::kBadArgument, "model '" + spec.name() + "' is not known; choose one of: " + choices);
}

}  // namespace

double Model::improve(std::span<float>, const Examples&) {
  throw Error(Errc::kBadArgument, "this model is trained by descent along its gradient");
}

double Model::loss_and_gradients(std::span<const float>, const Examples&, std::span<float>, std::span<float>) {
  throw Error(Errc::kBadArgument, "this model gives no derivative by the features of examples");
}

void check_model(std::string_view text) { parse(text); }

ModelFactory model_factory(std::string_view text, const ExampleShape& shape) {
  if (shape.features == 0 || shape.targets == 0) throw Error(Errc::kBadArgument, "examples without features or targets");
  return parse(text)(shape);
}

std::vector<ModelInfo> models() {
  std::vector<ModelInfo> list;
  for (const Entry& entry : entries()) list.push_back({entry.name, entry.form, entry.summary});
  return list;
}

}  // namespace fewbits::federated
