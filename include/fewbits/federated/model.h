#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fewbits/export.h"
#include "fewbits/layout.h"

namespace fewbits::federated {

// Examples side by side: x has shape [rows, features], y has shape [rows, targets], both row-major. A target is the
// number of a class or of a token, from 0, or a real value: a float holds each whole number below 2^24.
struct Examples {
  std::span<const float> x;
  std::span<const float> y;
};

// What all examples of a data set have in common; models are made for it.
struct ExampleShape {
  std::size_t features = 0;
  std::size_t targets = 1;
  std::size_t classes = 0;  // targets are numbers of classes, or of tokens, below it; 0: they are real values
  std::size_t tokens = 0;   // over 0: the features are numbers of tokens, or of one-hot columns, below it
  std::span<const float> sample = {};  // shape [rows, features]: public examples for the start of training
};

// What an evaluation measures: sum / weight, each added up over all examples.
struct Metric {
  std::string_view name = "accuracy";
  bool higher_is_better = true;
  bool root = false;               // of the mean: root mean squared errors
};

struct Score {
  double sum = 0;
  double weight = 0;  // of a mean over targets: their number
};

// A model whose parameters live outside of it, in one vector laid out as layout() says. It owns scratch memory, so one
// object serves one thread. Equal arguments give equal bits, in every thread.
class FEWBITS_API Model {
 public:
  virtual ~Model() = default;

  virtual const Layout& layout() const noexcept = 0;

  // Start of training, a function of the seed.
  virtual void initialize(std::uint64_t seed, std::span<float> parameters) const = 0;

  // Mean loss over the batch (at least one row), and its gradient, which is written over what is there.
  virtual double loss_and_gradient(std::span<const float> parameters, const Examples& batch,
                                   std::span<float> gradient) = 0;

  // The same, and the derivative of the loss by the examples' features, shape [rows, features]. Throws kBadArgument where
  // the model does not give it: features that are tokens have none.
  virtual double loss_and_gradients(std::span<const float> parameters, const Examples& batch, std::span<float> gradient,
                                    std::span<float> features_gradient);

  // Of metric(), over these examples.
  virtual Score score(std::span<const float> parameters, const Examples& examples) = 0;
  virtual Metric metric() const noexcept { return {}; }

  // Models that are not trained by descent along a gradient: a client calls `improve` once a round, with all its examples,
  // in place of local epochs. Returns the loss before it.
  virtual bool descends() const noexcept { return true; }
  virtual double improve(std::span<float> parameters, const Examples& examples);  // throws kBadArgument where it is not overridden
};

using ModelFactory = std::function<std::unique_ptr<Model>()>;

// Makes models by their text: one of models(). Throws kBadArgument for text that names none, and for examples that the
// model is not for.
FEWBITS_API ModelFactory model_factory(std::string_view text, const ExampleShape& shape);

// Throws kBadArgument for text that names no model, before the shape of the examples is known.
FEWBITS_API void check_model(std::string_view text);

// How a model reads a text: in windows with one target behind each, or in sequences with a target at each position.
enum class Reading { kNone, kWindows, kSequences };
FEWBITS_API Reading reading_of(std::string_view text);   // throws as check_model

struct ModelInfo {
  std::string name;
  std::string form;     // "mlp[:hidden=200]"
  std::string summary;
};
FEWBITS_API std::vector<ModelInfo> models();

}  // namespace fewbits::federated
