#include "fewbits/federated/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <thread>

#include "datasets/variates.h"
#include "fewbits/error.h"
#include "kernels/random.h"

namespace fewbits::federated {
namespace {

struct Data {
  std::vector<float> x;
  std::vector<std::uint8_t> y;
  Data(std::size_t rows, std::size_t features, std::size_t classes) {
    RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), rows, features, classes}));
    datasets::NormalReader normal(random);
    for (std::size_t i = 0; i < rows * features; ++i) x.push_back(static_cast<float>(normal.next()));
    for (std::size_t i = 0; i < rows; ++i) y.push_back(static_cast<std::uint8_t>(random.below(classes)));
  }
};

std::vector<float> initial(const Model& model, std::uint64_t seed) {
  std::vector<float> parameters(model.layout().elements());
  model.initialize(seed, parameters);
  return parameters;
}

// The same network by plain loops in double, from the layout's shapes alone.
double plain_loss(const Layout& layout, const std::vector<double>& parameters, const Data& data) {
  const std::size_t layers = layout.tensors().size() / 2;
  const std::size_t features = layout.tensors()[0].shape[0];
  double loss = 0;
  for (std::size_t row = 0; row < data.y.size(); ++row) {
    std::vector<double> values(data.x.begin() + static_cast<std::ptrdiff_t>(row * features),
                               data.x.begin() + static_cast<std::ptrdiff_t>((row + 1) * features));
    for (std::size_t layer = 0; layer < layers; ++layer) {
      const auto& shape = layout.tensors()[2 * layer].shape;
      std::vector<double> next(shape[1]);
      for (std::size_t j = 0; j < shape[1]; ++j) {
        next[j] = parameters[layout.offset(2 * layer + 1) + j];
        for (std::size_t i = 0; i < shape[0]; ++i) {
          next[j] += values[i] * parameters[layout.offset(2 * layer) + i * shape[1] + j];
        }
        if (layer + 1 < layers) next[j] = std::max(next[j], 0.0);
      }
      values = next;
    }
    double sum = 0;
    for (const double score : values) sum += std::exp(score);
    loss += std::log(sum) - values[data.y[row]];
  }
  return loss / static_cast<double>(data.y.size());
}

class EveryModel : public testing::TestWithParam<const char*> {};

TEST_P(EveryModel, GradientIsTheDerivativeOfTheLoss) {
  const Data data(11, 7, 4);
  const std::unique_ptr<Model> model = model_factory(GetParam(), 7, 4)();
  std::vector<float> parameters = initial(*model, 3);
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 99}));
  for (float& value : parameters) value += static_cast<float>(random.uniform() - 0.5) * 0.2f;  // biases too
  std::vector<float> gradient(parameters.size(), 7.0f);
  const double loss = model->loss_and_gradient(parameters, {data.x, data.y}, gradient);

  std::vector<double> at(parameters.begin(), parameters.end());
  EXPECT_NEAR(loss, plain_loss(model->layout(), at, data), 1e-6);
  // Central differences in double: off by about h^2 = 1e-10. What is left is float32's rounding of sums of values below
  // 10 with at most 20 terms, some 1e-6.
  for (std::size_t i = 0; i < at.size(); ++i) {
    constexpr double h = 1e-5;
    const double here = at[i];
    at[i] = here + h;
    const double above = plain_loss(model->layout(), at, data);
    at[i] = here - h;
    const double below = plain_loss(model->layout(), at, data);
    at[i] = here;
    EXPECT_NEAR(gradient[i], (above - below) / (2 * h), 5e-6) << "parameter " << i;
  }
}

TEST_P(EveryModel, CorrectCountsTheLargestScores) {
  const Data data(200, 7, 4);
  const std::unique_ptr<Model> model = model_factory(GetParam(), 7, 4)();
  const std::vector<float> parameters = initial(*model, 3);
  const std::vector<double> at(parameters.begin(), parameters.end());
  std::size_t count = 0;
  for (std::size_t row = 0; row < 200; ++row) {
    Data one(1, 7, 4);
    one.x.assign(data.x.begin() + static_cast<std::ptrdiff_t>(row * 7), data.x.begin() + static_cast<std::ptrdiff_t>(row * 7 + 7));
    double least = 1e300;
    std::uint8_t best = 0;
    for (std::uint8_t c = 0; c < 4; ++c) {
      one.y[0] = c;
      const double loss = plain_loss(model->layout(), at, one);
      if (loss < least) {
        least = loss;
        best = c;
      }
    }
    count += best == data.y[row];
  }
  EXPECT_EQ(model->correct(parameters, {data.x, data.y}), count);
}

TEST_P(EveryModel, InitialWeightsHaveHesVariance) {
  const std::unique_ptr<Model> model = model_factory(GetParam(), 784, 10)();
  const std::vector<float> parameters = initial(*model, 1);
  EXPECT_EQ(parameters, initial(*model, 1));
  EXPECT_NE(parameters, initial(*model, 2));
  const Layout& layout = model->layout();
  for (std::size_t t = 0; t < layout.tensors().size(); ++t) {
    const Tensor& tensor = layout.tensors()[t];
    double squares = 0;
    for (std::size_t i = 0; i < tensor.elements(); ++i) {
      const double value = parameters[layout.offset(t) + i];
      squares += value * value;
    }
    const auto n = static_cast<double>(tensor.elements());
    const double variance = tensor.shape.size() == 2 ? 2 / static_cast<double>(tensor.shape[0]) : 0;
    EXPECT_NEAR(squares / n, variance, 6 * variance * std::sqrt(2 / n)) << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryModel, testing::Values("softmax", "mlp", "mlp:hidden=5"));

TEST(Models, LayoutOfThePerceptron) {
  EXPECT_EQ(model_factory("mlp", 784, 10)()->layout().text(),
            "dense1.weight\t784,200\ndense1.bias\t200\ndense2.weight\t200,10\ndense2.bias\t10\n");
}

TEST(Models, BadTextGivesTheChoices) {
  const auto refusal = [](const char* text) -> std::string {
    try {
      model_factory(text, 784, 10);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_NE(refusal("cnn").find("choose one of: mlp[:hidden=200], softmax"), std::string::npos);
  EXPECT_NE(refusal("mlp:hidden=0").find("expected an integer from 1"), std::string::npos);
  EXPECT_NE(refusal("softmax:hidden=3").find("it has none"), std::string::npos);
}

// Products of full size in several threads at once, each with its own buffers: the BLAS must share nothing between calls.
TEST(Models, GradientsAreTheSameBitsInEveryThread) {
  const ModelFactory factory = model_factory("mlp", 784, 10);
  for (const std::size_t rows : {std::size_t{32}, std::size_t{24}, std::size_t{1}}) {
    const Data data(rows, 784, 10);
    const std::vector<float> parameters = initial(*factory(), 1);
    std::vector<float> expected(parameters.size());
    const double expected_loss = factory()->loss_and_gradient(parameters, {data.x, data.y}, expected);
    std::vector<int> different(8);
    std::vector<std::thread> threads;
    for (int& count : different) {
      threads.emplace_back([&] {
        const std::unique_ptr<Model> model = factory();
        std::vector<float> gradient(parameters.size());
        for (int repeat = 0; repeat < 400; ++repeat) {
          const double loss = model->loss_and_gradient(parameters, {data.x, data.y}, gradient);
          count += loss != expected_loss ||
                   std::memcmp(gradient.data(), expected.data(), gradient.size() * sizeof(float)) != 0;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(different, std::vector<int>(8)) << rows << " rows";
  }
}

}  // namespace
}  // namespace fewbits::federated
