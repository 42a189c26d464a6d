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

// Labelled examples: x has shape [rows, features], row-major; y has shape [rows], each below the number of classes.
struct Examples {
  std::span<const float> x;
  std::span<const std::uint8_t> y;
};

// A classifier whose parameters live outside of it, in one vector laid out as layout() says. It owns scratch memory, so
// one object serves one thread. Equal arguments give equal bits, in every thread.
class FEWBITS_API Model {
 public:
  virtual ~Model() = default;

  virtual const Layout& layout() const noexcept = 0;

  // Start of training, a function of the seed.
  virtual void initialize(std::uint64_t seed, std::span<float> parameters) const = 0;

  // Mean loss over the batch (at least one row), and its gradient.
  virtual double loss_and_gradient(std::span<const float> parameters, const Examples& batch,
                                   std::span<float> gradient) = 0;

  // How many of the examples are put into their class.
  virtual std::size_t correct(std::span<const float> parameters, const Examples& examples) = 0;
};

using ModelFactory = std::function<std::unique_ptr<Model>()>;

// Makes models by their text: one of models(). Throws kBadArgument for text that names none, and for examples that the
// model is not for.
FEWBITS_API ModelFactory model_factory(std::string_view text, std::size_t features, std::size_t classes);

// Throws kBadArgument for text that names no model, before the size of the examples is known.
FEWBITS_API void check_model(std::string_view text);

struct ModelInfo {
  std::string name;
  std::string form;     // "mlp[:hidden=200]"
  std::string summary;
};
FEWBITS_API std::vector<ModelInfo> models();

}  // namespace fewbits::federated
