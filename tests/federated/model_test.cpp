#include "fewbits/federated/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <ostream>
#include <thread>
#include <utility>

#include "model_checks.h"

namespace fewbits::federated {
namespace {

struct Data {
  std::vector<float> x;
  std::vector<float> y;
  Data(std::size_t rows, std::size_t features, std::size_t classes) {
    RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), rows, features, classes}));
    datasets::NormalReader normal(random);
    for (std::size_t i = 0; i < rows * features; ++i) x.push_back(static_cast<float>(normal.next()));
    for (std::size_t i = 0; i < rows; ++i) y.push_back(static_cast<float>(random.below(classes)));
  }
};

using Values = std::vector<double>;

// One dense layer, by plain loops in double. weight has shape [in, out].
Values dense(const Values& in, const double* weight, const double* bias, std::size_t outputs, bool relu) {
  Values out(bias, bias + outputs);
  for (std::size_t j = 0; j < outputs; ++j) {
    for (std::size_t i = 0; i < in.size(); ++i) out[j] += in[i] * weight[i * outputs + j];
    if (relu) out[j] = std::max(out[j], 0.0);
  }
  return out;
}

// A convolution, ReLU and the largest of each 2x2 square, by their definitions. weight has the shape
// [out, in, height, width], and its middle is over the pixel.
Values convolution(const Values& in, const std::vector<std::size_t>& shape, const double* weight, const double* bias) {
  const auto side = std::lround(std::sqrt(static_cast<double>(in.size() / shape[1])));
  const auto height = static_cast<long>(shape[2]), width = static_cast<long>(shape[3]);
  const auto at = [&](std::size_t o, long y, long x) {
    double sum = bias[o];
    for (std::size_t c = 0; c < shape[1]; ++c) {
      for (long dy = 0; dy < height; ++dy) {
        for (long dx = 0; dx < width; ++dx) {
          const long line = y + dy - height / 2, column = x + dx - width / 2;
          if (line < 0 || line >= side || column < 0 || column >= side) continue;
          const auto pixel = static_cast<std::size_t>(line * side + column);
          const auto tap = static_cast<std::size_t>(dy * width + dx);
          const std::size_t kernel = (o * shape[1] + c) * shape[2] * shape[3];
          sum += in[c * static_cast<std::size_t>(side * side) + pixel] * weight[kernel + tap];
        }
      }
    }
    return std::max(sum, 0.0);
  };
  Values out;
  for (std::size_t o = 0; o < shape[0]; ++o) {
    for (long y = 0; y + 1 < side; y += 2) {
      for (long x = 0; x + 1 < side; x += 2) {
        out.push_back(std::max({at(o, y, x), at(o, y, x + 1), at(o, y + 1, x), at(o, y + 1, x + 1)}));
      }
    }
  }
  return out;
}

// The same network by plain loops in double, from the layout's shapes alone.
double plain_loss(const Layout& layout, const Values& parameters, const Data& data) {
  const std::size_t layers = layout.tensors().size() / 2;
  const std::size_t features = data.x.size() / data.y.size();
  double loss = 0;
  for (std::size_t row = 0; row < data.y.size(); ++row) {
    Values values(data.x.begin() + static_cast<std::ptrdiff_t>(row * features),
                  data.x.begin() + static_cast<std::ptrdiff_t>((row + 1) * features));
    for (std::size_t layer = 0; layer < layers; ++layer) {
      const auto& shape = layout.tensors()[2 * layer].shape;
      const double* weight = parameters.data() + layout.offset(2 * layer);
      const double* bias = parameters.data() + layout.offset(2 * layer + 1);
      values = shape.size() == 4 ? convolution(values, shape, weight, bias)
                                 : dense(values, weight, bias, shape[1], layer + 1 < layers);
    }
    double sum = 0;
    for (const double score : values) sum += std::exp(score);
    loss += std::log(sum) - values[static_cast<std::size_t>(data.y[row])];
  }
  return loss / static_cast<double>(data.y.size());
}

struct Choice {
  const char* model;
  std::size_t features;
};
std::ostream& operator<<(std::ostream& out, const Choice& choice) { return out << choice.model; }

class EveryModel : public testing::TestWithParam<Choice> {};

TEST_P(EveryModel, GradientIsTheDerivativeOfTheLoss) {
  const Data data(11, GetParam().features, 4);
  const std::unique_ptr<Model> model = model_factory(GetParam().model, {.features = GetParam().features, .classes = 4})();
  std::vector<float> parameters = initial(*model, 3);
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 99}));
  for (float& value : parameters) value += static_cast<float>(random.uniform() - 0.5) * 0.2f;  // biases too
  std::vector<float> gradient(parameters.size(), 7.0f);
  const double loss = model->loss_and_gradient(parameters, {data.x, data.y}, gradient);

  Values at(parameters.begin(), parameters.end());
  EXPECT_NEAR(loss, plain_loss(model->layout(), at, data), 1e-6);
  // Central differences in double: off by about h^2 = 1e-10. What is left is float32's rounding of sums: of values
  // below 10 with at most 20 terms in dense layers, of values below 0.1 at 11 rows times 121 positions in a kernel's
  // gradient; some 1e-6 either way.
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
  const std::size_t features = GetParam().features;
  const Data data(200, features, 4);
  const std::unique_ptr<Model> model = model_factory(GetParam().model, {.features = features, .classes = 4})();
  const std::vector<float> parameters = initial(*model, 3);
  const Values at(parameters.begin(), parameters.end());
  std::size_t count = 0;
  for (std::size_t row = 0; row < 200; ++row) {
    Data one(1, features, 4);
    std::copy_n(data.x.begin() + static_cast<std::ptrdiff_t>(row * features), features, one.x.begin());
    double least = 1e300;
    float best = 0;
    for (float c = 0; c < 4; ++c) {
      one.y[0] = c;
      const double loss = plain_loss(model->layout(), at, one);
      if (loss < least) {
        least = loss;
        best = c;
      }
    }
    count += best == data.y[row];
  }
  EXPECT_EQ(model->score(parameters, {data.x, data.y}).sum, static_cast<double>(count));
}

TEST_P(EveryModel, InitialWeightsHaveHesVariance) {
  const std::unique_ptr<Model> model = model_factory(GetParam().model, {.features = 784, .classes = 10})();
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
    double variance = 0;
    if (tensor.shape.size() == 2) variance = 2 / static_cast<double>(tensor.shape[0]);
    if (tensor.shape.size() == 4) variance = 2 * static_cast<double>(tensor.shape[0]) / n;
    EXPECT_NEAR(squares / n, variance, 6 * variance * std::sqrt(2 / n)) << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryModel,
                         testing::Values(Choice{"softmax", 7}, Choice{"mlp", 7}, Choice{"mlp:hidden=5", 7},
                                         Choice{"cnn:channels=2,hidden=3", 36}, Choice{"cnn:channels=3-4,hidden=5", 49},
                                         Choice{"cnn:channels=2-1-3,hidden=4", 121}));

TEST(Models, LayoutOfThePerceptron) {
  EXPECT_EQ(model_factory("mlp", {.features = 784, .classes = 10})()->layout().text(),
            "dense1.weight\t784,200\ndense1.bias\t200\ndense2.weight\t200,10\ndense2.bias\t10\n");
}

TEST(Models, LayoutOfTheConvolutionalNetwork) {
  EXPECT_EQ(model_factory("cnn", {.features = 784, .classes = 10})()->layout().text(),
            "conv1.weight\t16,1,3,3\nconv1.bias\t16\nconv2.weight\t32,16,3,3\nconv2.bias\t32\n"
            "dense1.weight\t1568,64\ndense1.bias\t64\ndense2.weight\t64,10\ndense2.bias\t10\n");
  EXPECT_EQ(model_factory("cnn:hidden=7,channels=4", {.features = 784, .classes = 3})()->layout().text(),
            "conv1.weight\t4,1,3,3\nconv1.bias\t4\ndense1.weight\t784,7\ndense1.bias\t7\ndense2.weight\t7,3\n"
            "dense2.bias\t3\n");
}

TEST(Models, BadTextGivesTheChoices) {
  const auto refusal = [](const char* text, std::size_t features = 784) -> std::string {
    try {
      model_factory(text, {.features = features, .classes = 10});
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_NE(refusal("rnn").find("choose one of: cnn[:channels=16-32,hidden=64], gru[:embedding=8,hidden=128], kmeans"),
            std::string::npos);
  EXPECT_NE(refusal("mlp:hidden=0").find("expected an integer from 1"), std::string::npos);
  EXPECT_NE(refusal("softmax:hidden=3").find("it has none"), std::string::npos);
  for (const char* text : {"cnn:channels=0", "cnn:channels=16-", "cnn:channels=-16", "cnn:channels=16--32",
                           "cnn:channels=16,32", "cnn:channels=16+32", "cnn:channels=1025"}) {
    EXPECT_NE(refusal(text).find("model '" + std::string(text) + "'"), std::string::npos) << refusal(text);
    EXPECT_THROW(check_model(text), Error);
  }
  EXPECT_NE(refusal("cnn", 20).find("20 features, which is no square"), std::string::npos);
  EXPECT_NE(refusal("cnn:channels=1-1-1-1-1").find("images of 28x28 pixels 5 times"), std::string::npos);
  EXPECT_NO_THROW(check_model("cnn:channels=1-1-1-1-1"));  // images of 32x32 would do
}

// Products of full size in several threads at once, each with its own buffers: the BLAS must share nothing between
// calls.
TEST(Models, GradientsAreTheSameBitsInEveryThread) {
  for (const auto& [text, repeats] : {std::pair{"mlp", 400}, std::pair{"cnn", 8}}) {
    const ModelFactory factory = model_factory(text, {.features = 784, .classes = 10});
    for (const std::size_t rows : {std::size_t{32}, std::size_t{24}, std::size_t{1}}) {
      const Data data(rows, 784, 10);
      const std::vector<float> parameters = initial(*factory(), 1);
      std::vector<float> expected(parameters.size());
      const double expected_loss = factory()->loss_and_gradient(parameters, {data.x, data.y}, expected);
      std::vector<int> different(8);
      std::vector<std::thread> threads;
      for (int& count : different) {
        threads.emplace_back([&, &times = repeats] {
          const std::unique_ptr<Model> model = factory();
          std::vector<float> gradient(parameters.size());
          for (int repeat = 0; repeat < times; ++repeat) {
            const double loss = model->loss_and_gradient(parameters, {data.x, data.y}, gradient);
            count += loss != expected_loss ||
                     std::memcmp(gradient.data(), expected.data(), gradient.size() * sizeof(float)) != 0;
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      EXPECT_EQ(different, std::vector<int>(8)) << text << ", " << rows << " rows";
    }
  }
}

// Scratch memory of a large batch, and of an evaluation, leaves no trace in a smaller one.
TEST(Models, AnUsedModelGivesTheBitsOfAFreshOne) {
  for (const char* text : {"mlp:hidden=6", "cnn:channels=3-2,hidden=5"}) {
    const ModelFactory factory = model_factory(text, {.features = 64, .classes = 3});
    const std::vector<float> parameters = initial(*factory(), 1);
    const Data large(40, 64, 3), small(5, 64, 3);
    std::vector<float> expected(parameters.size()), gradient(parameters.size(), 5.0f);
    factory()->loss_and_gradient(parameters, {small.x, small.y}, expected);
    const std::unique_ptr<Model> used = factory();
    used->loss_and_gradient(parameters, {large.x, large.y}, gradient);
    used->score(parameters, {large.x, large.y});
    used->loss_and_gradient(parameters, {small.x, small.y}, gradient);
    EXPECT_EQ(std::memcmp(gradient.data(), expected.data(), gradient.size() * sizeof(float)), 0) << text;
  }
}

}  // namespace
}  // namespace fewbits::federated
