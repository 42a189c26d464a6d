#include <charconv>
#include <string>
#include <utility>

#include "datasets/spec.h"
#include "federated/convolutional.h"
#include "federated/dense.h"
#include "federated/gru.h"
#include "federated/kmeans.h"
#include "federated/linear.h"
#include "federated/pca.h"
#include "federated/svm.h"
#include "federated/window.h"
#include "fewbits/error.h"
#include "fewbits/federated/model.h"

namespace fewbits::federated {
namespace {

using datasets::Spec;

constexpr std::uint64_t kMostHidden = 65536;
constexpr std::uint64_t kMostChannels = 1024;
constexpr std::uint64_t kMostClusters = 65536;
constexpr std::uint64_t kMostEmbedding = 4096;
constexpr double kMostPenalty = 1e6;

// A model whose text is understood, for data of any size. May throw kBadArgument for one that does not fit.
using Shaped = std::function<ModelFactory(const ExampleShape&)>;

std::string describe(const ExampleShape& shape) {
  return std::to_string(shape.features) + " features that are " +
         (shape.tokens > 0 ? "numbers of " + std::to_string(shape.tokens) + " tokens or columns" : "values") + " and " +
         std::to_string(shape.targets) + (shape.targets == 1 ? " target" : " targets") + " of " +
         (shape.classes > 0 ? std::to_string(shape.classes) + " classes or tokens" : "real values");
}

[[noreturn]] void refuse(const std::string& model, const std::string& purpose, const ExampleShape& shape) {
  throw Error(Errc::kBadArgument,
              "model '" + model + "' is for " + purpose + "; these examples have " + describe(shape));
}

// For models that put vectors of values into one of some classes.
void require_classes(const std::string& model, const ExampleShape& shape) {
  if (shape.classes >= 2 && shape.tokens == 0 && shape.targets == 1) return;
  refuse(model, "values that are put into classes", shape);
}

double penalty(const Spec& spec, double fallback) {
  return spec.has("l2") ? spec.number("l2", 0, kMostPenalty) : fallback;
}

Shaped linear(const Spec& spec) {
  return [l2 = penalty(spec, 0), text = spec.text()](const ExampleShape& shape) -> ModelFactory {
    if (shape.classes != 0 || shape.targets != 1) refuse(text, "one real value as target", shape);
    return [=] { return std::make_unique<Linear>(shape, l2); };
  };
}

Shaped svm(const Spec& spec) {
  return [l2 = penalty(spec, 1e-4), text = spec.text()](const ExampleShape& shape) -> ModelFactory {
    require_classes(text, shape);
    return [=] { return std::make_unique<SupportVector>(shape.features, shape.classes, l2); };
  };
}

struct TextSizes {
  explicit TextSizes(const Spec& spec)
      : embedding(static_cast<std::size_t>(spec.integer("embedding", 1, kMostEmbedding, 8))),
        hidden(static_cast<std::size_t>(spec.integer("hidden", 1, kMostHidden, 128))) {}
  std::size_t embedding, hidden;
};

Shaped window(const Spec& spec) {
  return [sizes = TextSizes(spec), text = spec.text()](const ExampleShape& shape) -> ModelFactory {
    if (shape.tokens < 2 || shape.classes != shape.tokens || shape.targets != 1) {
      refuse(text, "windows of a text, tokens whose target is the next one", shape);
    }
    return [=] { return std::make_unique<Window>(shape.features, shape.tokens, sizes.embedding, sizes.hidden); };
  };
}

Shaped gru(const Spec& spec) {
  return [sizes = TextSizes(spec), text = spec.text()](const ExampleShape& shape) -> ModelFactory {
    if (shape.tokens < 2 || shape.classes != shape.tokens || shape.targets != shape.features) {
      refuse(text, "sequences of a text, tokens each with the one after it as target", shape);
    }
    return [=] { return std::make_unique<Gru>(shape.features, shape.tokens, sizes.embedding, sizes.hidden); };
  };
}

Shaped kmeans(const Spec& spec) {
  const auto clusters = static_cast<std::size_t>(spec.integer("clusters", 1, kMostClusters, 10));
  return [clusters, text = spec.text()](const ExampleShape& shape) -> ModelFactory {
    if (shape.tokens > 0) refuse(text, "features that are values", shape);
    const std::size_t rows = shape.sample.size() / shape.features;
    if (rows < clusters || rows * shape.features != shape.sample.size()) {
      throw Error(Errc::kBadArgument, "model '" + text + "' starts at examples of a public sample of at least " +
                                          std::to_string(clusters) + "; it has " + std::to_string(rows));
    }
    const auto sample = std::make_shared<const std::vector<float>>(shape.sample.begin(), shape.sample.end());
    return [=, features = shape.features] { return std::make_unique<KMeans>(features, clusters, sample); };
  };
}

Shaped pca(const Spec& spec) {
  return [text = spec.text()](const ExampleShape& shape) -> ModelFactory {
    if (shape.tokens > 0) refuse(text, "features that are values", shape);
    return [features = shape.features] { return std::make_unique<PrincipalAxis>(features); };
  };
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
  Reading reading = Reading::kNone;
};

// THE list of models: a new one is a line here, and a class that implements Model.
const std::vector<Entry>& entries() {
  static const std::vector<Entry> list = {
      {"cnn", "cnn[:channels=16-32,hidden=64]",
       "3x3 convolutions of square images, each with ReLU and 2x2 maxima, one hidden layer, softmax",
       {"channels", "hidden"}, cnn},
      {"gru", "gru[:embedding=8,hidden=128]",
       "next token at each position of a sequence: embedding, gated recurrent units, softmax",
       {"embedding", "hidden"}, gru, Reading::kSequences},
      {"kmeans", "kmeans[:clusters=10]", "centres of clusters, by Lloyd's iteration", {"clusters"}, kmeans},
      {"linear", "linear[:l2=0]", "linear regression of a real value on values, or on one-hot columns", {"l2"}, linear},
      {"mlp", "mlp[:hidden=200]", "one hidden layer, ReLU, softmax", {"hidden"}, mlp},
      {"pca", "pca", "the first principal axis, by power iteration", {}, pca},
      {"softmax", "softmax", "softmax regression", {}, softmax},
      {"svm", "svm[:l2=0.0001]", "linear support vector machines, one class against the rest", {"l2"}, svm},
      {"window", "window[:embedding=8,hidden=128]",
       "next token from a window of the last ones: embedding, one hidden layer, ReLU, softmax",
       {"embedding", "hidden"}, window, Reading::kWindows},
  };
  return list;
}

const Entry& find(const Spec& spec) {
  std::string choices;
  for (const Entry& entry : entries()) {
    if (spec.name() == entry.name) {
      spec.allow_only(entry.parameters);
      return entry;
    }
    choices += (choices.empty() ? "" : ", ") + std::string(entry.form);
  }
  throw Error(Errc::kBadArgument, "model '" + spec.name() + "' is not known; choose one of: " + choices);
}

Shaped parse(std::string_view text) {
  const Spec spec("model", text);
  return find(spec).parse(spec);
}

}  // namespace

double Model::improve(std::span<float>, const Examples&) {
  throw Error(Errc::kBadArgument, "this model is trained by descent along its gradient");
}

double Model::loss_and_gradients(std::span<const float>, const Examples&, std::span<float>, std::span<float>) {
  throw Error(Errc::kBadArgument, "this model gives no derivative by the features of examples");
}

void check_model(std::string_view text) { parse(text); }

Reading reading_of(std::string_view text) { return find(Spec("model", text)).reading; }

ModelFactory model_factory(std::string_view text, const ExampleShape& shape) {
  if (shape.features == 0 || shape.targets == 0) {
    throw Error(Errc::kBadArgument, "examples without features or targets");
  }
  return parse(text)(shape);
}

std::vector<ModelInfo> models() {
  std::vector<ModelInfo> list;
  for (const Entry& entry : entries()) list.push_back({entry.name, entry.form, entry.summary});
  return list;
}

}  // namespace fewbits::federated
