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
using Sized = std::function<ModelFactory(std::size_t features, std::size_t classes)>;

Sized softmax(const Spec&) {
  return [](std::size_t features, std::size_t classes) -> ModelFactory {
    return [=] { return std::make_unique<Dense>(features, std::vector<std::size_t>(), classes); };
  };
}

Sized mlp(const Spec& spec) {
  const std::vector<std::size_t> hidden{static_cast<std::size_t>(spec.integer("hidden", 1, kMostHidden, 200))};
  return [=](std::size_t features, std::size_t classes) -> ModelFactory {
    return [=] { return std::make_unique<Dense>(features, hidden, classes); };
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

Sized cnn(const Spec& spec) {
  const auto channels = spec.has("channels") ? parse_channels(spec) : std::vector<std::size_t>{16, 32};
  const auto hidden = static_cast<std::size_t>(spec.integer("hidden", 1, kMostHidden, 64));
  return [=, text = spec.text()](std::size_t features, std::size_t classes) -> ModelFactory {
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
    return [=] { return std::make_unique<Convolutional>(side, channels, hidden, classes); };
  };
}

struct Entry {
  const char* name;
  const char* form;
  const char* summary;
  std::vector<std::string> parameters;
  Sized (*parse)(const Spec&);
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

Sized parse(std::string_view text) {
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

void check_model(std::string_view text) { parse(text); }

ModelFactory model_factory(std::string_view text, std::size_t features, std::size_t classes) {
  if (features == 0 || classes < 2) {
    throw Error(Errc::kBadArgument, "a model of " + std::to_string(features) + " features and " +
                                        std::to_string(classes) + " classes; at least 1 and 2 are needed");
  }
  return parse(text)(features, classes);
}

std::vector<ModelInfo> models() {
  std::vector<ModelInfo> list;
  for (const Entry& entry : entries()) list.push_back({entry.name, entry.form, entry.summary});
  return list;
}

}  // namespace fewbits::federated
