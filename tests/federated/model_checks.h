#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/variates.h"
#include "fewbits/error.h"
#include "fewbits/federated/model.h"
#include "kernels/random.h"

// What tests of models share.
namespace fewbits::federated {

inline RandomReader synthetic(std::uint64_t part) {
  return RandomReader(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 42, part}));
}

inline std::vector<float> normal_values(std::size_t n, std::uint64_t part) {
  RandomReader random = synthetic(part);
  datasets::NormalReader normal(random);
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(normal.next());
  return values;
}

inline std::vector<float> numbers_below(std::size_t bound, std::size_t n, std::uint64_t part) {
  RandomReader random = synthetic(part);
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(random.below(bound));
  return values;
}

inline std::vector<float> initial(const Model& model, std::uint64_t seed) {
  std::vector<float> parameters(model.layout().elements());
  model.initialize(seed, parameters);
  return parameters;
}

// A start with noise up to 0.1, so that biases are not 0 either.
inline std::vector<float> shaken(const Model& model, std::uint64_t seed) {
  std::vector<float> parameters = initial(model, seed);
  RandomReader random = synthetic(99);
  for (float& value : parameters) value += static_cast<float>(random.uniform() - 0.5) * 0.2f;
  return parameters;
}

// Loss and gradient against plain(parameters), the loss by its definition in double. Central differences are off by
// about h^2 = 1e-10; what `tolerance` allows for is float32 in the model.
template <typename Plain>
void expect_loss_and_gradient(Model& model, const Examples& batch, Plain&& plain, double tolerance) {
  const std::vector<float> parameters = shaken(model, 3);
  std::vector<float> gradient(parameters.size(), 7.0f);
  const double loss = model.loss_and_gradient(parameters, batch, gradient);
  std::vector<double> at(parameters.begin(), parameters.end());
  EXPECT_NEAR(loss, plain(at), tolerance);
  for (std::size_t i = 0; i < at.size(); ++i) {
    constexpr double h = 1e-5;
    const double here = at[i];
    at[i] = here + h;
    const double above = plain(at);
    at[i] = here - h;
    const double below = plain(at);
    at[i] = here;
    EXPECT_NEAR(gradient[i], (above - below) / (2 * h), tolerance) << "parameter " << i;
  }
}

// What the refusal says; "accepted" where there is none.
inline std::string refusal(std::string_view text, const ExampleShape& shape) {
  try {
    model_factory(text, shape)();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kBadArgument);
    return error.what();
  }
  return "accepted";
}

}  // namespace fewbits::federated
