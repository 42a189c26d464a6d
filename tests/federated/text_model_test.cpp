#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <utility>

#include "federated/activations.h"
#include "model_checks.h"

namespace fewbits::federated {
namespace {

using Values = std::vector<double>;

constexpr std::size_t kTokens = 7;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

ExampleShape window_shape(std::size_t length, std::size_t tokens = kTokens) {
  return {.features = length, .targets = 1, .classes = tokens, .tokens = tokens};
}
ExampleShape sequence_shape(std::size_t length, std::size_t tokens = kTokens) {
  return {.features = length, .targets = length, .classes = tokens, .tokens = tokens};
}

struct Text {
  ExampleShape shape;
  std::vector<float> x, y;
  Text(const ExampleShape& of, std::size_t rows)
      : shape(of),
        x(numbers_below(of.tokens, rows * of.features, 1)),
        y(numbers_below(of.tokens, rows * of.targets, 2)) {}
  Examples examples() const { return {x, y}; }
};

// Parameters as matrices by the names of their tensors.
struct Named {
  const Layout& layout;
  const Values& all;
  const double* of(const std::string& name) const {
    for (std::size_t t = 0; t < layout.tensors().size(); ++t) {
      if (layout.tensors()[t].name == name) return all.data() + layout.offset(t);
    }
    throw std::out_of_range(name);
  }
  Values row(const std::string& name, std::size_t index, std::size_t width) const {
    return Values(of(name) + index * width, of(name) + (index + 1) * width);
  }
  // in · W, columns [begin, begin + width) of a matrix with `stride` columns.
  Values product(const Values& in, const std::string& name, std::size_t stride, std::size_t begin,
                 std::size_t width) const {
    Values out(width);
    for (std::size_t i = 0; i < in.size(); ++i) {
      for (std::size_t j = 0; j < width; ++j) out[j] += in[i] * of(name)[i * stride + begin + j];
    }
    return out;
  }
};

Values operator+(Values a, const Values& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// The scores of each target of a row, one after the other.
using Plain = std::function<std::vector<Values>(const Named&, const float* x)>;

Plain plain_window(std::size_t length, std::size_t embedding, std::size_t hidden) {
  return [=](const Named& p, const float* x) {
    Values in;
    for (std::size_t t = 0; t < length; ++t) {
      const Values row = p.row("embedding.weight", static_cast<std::size_t>(x[t]), embedding);
      in.insert(in.end(), row.begin(), row.end());
    }
    Values middle = p.product(in, "dense1.weight", hidden, 0, hidden) + p.row("dense1.bias", 0, hidden);
    for (double& value : middle) value = std::max(value, 0.0);
    return std::vector<Values>(
        1, p.product(middle, "dense2.weight", kTokens, 0, kTokens) + p.row("dense2.bias", 0, kTokens));
  };
}

// The unit of gru.h, gate by gate.
Plain plain_gru(std::size_t length, std::size_t embedding, std::size_t hidden) {
  return [=](const Named& p, const float* tokens) {
    std::vector<Values> scores;
    Values h(hidden);
    for (std::size_t t = 0; t < length; ++t) {
      const Values x = p.row("embedding.weight", static_cast<std::size_t>(tokens[t]), embedding);
      const auto input = [&](std::size_t gate) {
        return p.product(x, "gru.input_weight", 3 * hidden, gate * hidden, hidden) + p.row("gru.bias", gate, hidden);
      };
      const auto recurrent = [&](std::size_t gate) {
        return p.product(h, "gru.hidden_weight", 3 * hidden, gate * hidden, hidden);
      };
      const Values r = input(0) + recurrent(0), z = input(1) + recurrent(1), fresh = input(2);
      const Values old = recurrent(2) + p.row("gru.reset_bias", 0, hidden);
      for (std::size_t i = 0; i < hidden; ++i) {
        const double reset = 1 / (1 + std::exp(-r[i])), keep = 1 / (1 + std::exp(-z[i]));
        h[i] = (1 - keep) * std::tanh(fresh[i] + reset * old[i]) + keep * h[i];
      }
      scores.push_back(p.product(h, "dense1.weight", kTokens, 0, kTokens) + p.row("dense1.bias", 0, kTokens));
    }
    return scores;
  };
}

struct Choice {
  const char* name;
  std::string text;
  ExampleShape shape;
  Plain plain;
};
std::ostream& operator<<(std::ostream& out, const Choice& choice) {
  return out << choice.text << ", " << choice.shape.features << " tokens";
}

std::vector<Choice> choices() {
  std::vector<Choice> list;
  for (const auto& [length, embedding, hidden] : {std::tuple{6u, 3u, 4u}, {1u, 2u, 3u}, {9u, 1u, 1u}}) {
    const std::string sizes = ":embedding=" + std::to_string(embedding) + ",hidden=" + std::to_string(hidden);
    list.push_back({"Window", "window" + sizes, window_shape(length), plain_window(length, embedding, hidden)});
    list.push_back({"Gru", "gru" + sizes, sequence_shape(length), plain_gru(length, embedding, hidden)});
  }
  return list;
}

class EveryTextModel : public testing::TestWithParam<Choice> {
 protected:
  std::unique_ptr<Model> model() const { return model_factory(GetParam().text, GetParam().shape)(); }
};

// float32: sums of at most 60 positions' values below 1, divided by their number, and gates that are off by 2^-22.
TEST_P(EveryTextModel, GradientIsTheDerivativeOfTheLoss) {
  const Text text(GetParam().shape, 6);
  const auto model = this->model();
  const std::size_t targets = text.shape.targets;
  expect_loss_and_gradient(
      *model, text.examples(),
      [&](const Values& at) {
        double loss = 0;
        for (std::size_t row = 0; row < 6; ++row) {
          const auto scores = GetParam().plain({model->layout(), at}, text.x.data() + row * text.shape.features);
          for (std::size_t t = 0; t < targets; ++t) {
            double sum = 0;
            for (const double score : scores[t]) sum += std::exp(score);
            loss += std::log(sum) - scores[t][static_cast<std::size_t>(text.y[row * targets + t])];
          }
        }
        return loss / static_cast<double>(6 * targets);
      },
      5e-6);
}

// More positions than a score takes at once.
TEST_P(EveryTextModel, ScoreCountsTheLargestScores) {
  const std::size_t rows = 4200 / GetParam().shape.features + 1300;
  const Text text(GetParam().shape, rows);
  const auto model = this->model();
  const std::vector<float> parameters = shaken(*model, 3);
  const Values at(parameters.begin(), parameters.end());
  double count = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const auto scores = GetParam().plain({model->layout(), at}, text.x.data() + row * text.shape.features);
    for (std::size_t t = 0; t < scores.size(); ++t) {
      const auto best = std::max_element(scores[t].begin(), scores[t].end()) - scores[t].begin();
      count += best == static_cast<std::ptrdiff_t>(text.y[row * scores.size() + t]);
    }
  }
  const Score score = model->score(parameters, text.examples());
  EXPECT_EQ(score.sum, count);
  EXPECT_EQ(score.weight, static_cast<double>(text.y.size()));
}

TEST_P(EveryTextModel, ATokenThatDoesNotOccurHasNoGradient) {
  Text text(GetParam().shape, 6);
  for (float& token : text.x) token = token == 2 ? 3 : token;
  const auto model = this->model();
  std::vector<float> gradient(model->layout().elements(), kNaN);
  model->loss_and_gradient(initial(*model, 1), text.examples(), gradient);
  const std::size_t embedding = model->layout().tensors()[0].shape[1];
  for (std::size_t i = 0; i < embedding; ++i) EXPECT_EQ(gradient[2 * embedding + i], 0);
}

TEST_P(EveryTextModel, NaNIsNeitherALossNorRight) {
  const Text text(GetParam().shape, 6);
  const auto model = this->model();
  const Layout& layout = model->layout();
  for (std::size_t t = 0; t < layout.tensors().size(); ++t) {
    std::vector<float> parameters = shaken(*model, 1), gradient(parameters.size());
    const Tensor& tensor = layout.tensors()[t];
    std::fill_n(parameters.begin() + static_cast<std::ptrdiff_t>(layout.offset(t)), tensor.elements(), kNaN);
    EXPECT_EQ(model->score(parameters, text.examples()).sum, 0) << tensor.name;
    // The first state is 0, and 0 times NaN is NaN.
    EXPECT_TRUE(std::isnan(model->loss_and_gradient(parameters, text.examples(), gradient))) << tensor.name;
  }
}

// Scratch memory of a batch and of an evaluation leaves no trace in a smaller or larger one.
TEST_P(EveryTextModel, AnUsedModelGivesTheBitsOfAFreshOne) {
  const auto used = model();
  const std::vector<float> parameters = shaken(*used, 1);
  std::vector<float> expected(parameters.size()), gradient(parameters.size(), 5.0f);
  for (const std::size_t rows : {5u, 40u, 7u, 1u, 20u}) {
    const Text text(GetParam().shape, rows);
    model()->loss_and_gradient(parameters, text.examples(), expected);
    used->loss_and_gradient(parameters, text.examples(), gradient);
    EXPECT_EQ(std::memcmp(gradient.data(), expected.data(), gradient.size() * sizeof(float)), 0) << rows << " rows";
    used->score(parameters, text.examples());
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryTextModel, testing::ValuesIn(choices()), [](const auto& choice) {
  return choice.param.name + std::to_string(choice.param.shape.features);
});

TEST(TextModels, LayoutOfTheWindow) {
  const auto model = model_factory("window", window_shape(16, 63))();
  EXPECT_EQ(model->layout().text(),
            "embedding.weight\t63,8\ndense1.weight\t128,128\ndense1.bias\t128\ndense2.weight\t128,63\n"
            "dense2.bias\t63\n");
  EXPECT_EQ(model->layout().elements(), 25143u);
}

TEST(TextModels, LayoutOfTheGatedUnits) {
  EXPECT_EQ(model_factory("gru", sequence_shape(80, 63))()->layout().text(),
            "embedding.weight\t63,8\ngru.input_weight\t8,384\ngru.hidden_weight\t128,384\ngru.bias\t384\n"
            "gru.reset_bias\t128\ndense1.weight\t128,63\ndense1.bias\t63\n");
}

// Variances within 6 standard errors; 3 for the kurtosis of normal values bounds that of uniform ones.
TEST(TextModels, StartsHaveTheirVariance) {
  const std::vector<std::pair<std::string, std::vector<double>>> expected = {
      {"window", {1, 2.0 / 128, 0, 2.0 / 128, 0}},
      {"gru", {1, 2.0 / (8 + 128), 1.0 / (3 * 128), 0, 0, 2.0 / 128, 0}}};
  for (const auto& [text, variances] : expected) {
    const auto model = model_factory(text, text == "gru" ? sequence_shape(16, 63) : window_shape(16, 63))();
    const std::vector<float> parameters = initial(*model, 1);
    EXPECT_EQ(parameters, initial(*model, 1));
    EXPECT_NE(parameters, initial(*model, 2));
    for (std::size_t t = 0; t < variances.size(); ++t) {
      const Tensor& tensor = model->layout().tensors()[t];
      double squares = 0;
      for (std::size_t i = 0; i < tensor.elements(); ++i) {
        const double value = parameters[model->layout().offset(t) + i];
        squares += value * value;
      }
      const auto n = static_cast<double>(tensor.elements());
      EXPECT_NEAR(squares / n, variances[t], 6 * variances[t] * std::sqrt(2 / n)) << text << " " << tensor.name;
    }
  }
}

TEST(TextModels, GradientsAreTheSameBitsInEveryThread) {
  for (const auto& [name, shape] :
       {std::pair{"window", window_shape(16, 63)}, std::pair{"gru", sequence_shape(20, 63)}}) {
    const Text text(shape, 24);
    const ModelFactory factory = model_factory(name, shape);
    const std::vector<float> parameters = initial(*factory(), 1);
    std::vector<float> expected(parameters.size());
    factory()->loss_and_gradient(parameters, text.examples(), expected);
    std::vector<int> different(4);
    std::vector<std::thread> threads;
    for (int& count : different) {
      threads.emplace_back([&] {
        const std::unique_ptr<Model> model = factory();
        std::vector<float> gradient(parameters.size());
        for (int repeat = 0; repeat < 20; ++repeat) {
          model->loss_and_gradient(parameters, text.examples(), gradient);
          count += std::memcmp(gradient.data(), expected.data(), gradient.size() * sizeof(float)) != 0;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(different, std::vector<int>(4)) << name;
  }
}

TEST(TextModels, RefuseWhatIsNoText) {
  const auto says = [](const char* text, ExampleShape shape, const char* part) {
    EXPECT_NE(refusal(text, shape).find(part), std::string::npos) << refusal(text, shape);
  };
  for (const char* text : {"window", "gru"}) {
    says(text, {.features = 4, .classes = 10}, "have 4 features that are values and 1 target of 10 classes");
    says(text, {.features = 4, .targets = 4, .classes = 9, .tokens = 10}, "is for");
    says(text, {.features = 4, .classes = 9, .tokens = 10}, "are numbers of 10 tokens or columns and 1 target of 9");
    says(text, {.features = 4, .targets = 2, .tokens = 10}, "2 targets of real values");
  }
  says("window", sequence_shape(4), "is for windows of a text");
  says("gru", window_shape(4), "is for sequences of a text");
  says("window:hidden=0", window_shape(4), "expected an integer from 1");
  says("gru:layers=2", sequence_shape(4), "layers");
  EXPECT_EQ(refusal("gru", sequence_shape(1)), "accepted");
  EXPECT_EQ(refusal("gru", window_shape(1)), "accepted");
}

// The bounds that activations.h states.
TEST(Activations, AreAsCloseAsTheySay) {
  for (int i = -90000; i <= 90000; ++i) {
    const float x = static_cast<float>(i) * 1e-3f;
    const double clamped = std::clamp(static_cast<double>(x), -87.0, 87.0);
    EXPECT_NEAR(fast_exp(x) / std::exp(clamped), 1, 0x1p-21) << x;
    EXPECT_NEAR(sigmoid(x), 1 / (1 + std::exp(-static_cast<double>(x))), 0x1p-22) << x;
    EXPECT_NEAR(fast_tanh(x), std::tanh(static_cast<double>(x)), 0x1p-22) << x;
  }
  EXPECT_EQ(fast_exp(0), 1);
  EXPECT_EQ(fast_tanh(0), 0);
  for (const float x : {1e4f, 3e38f, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(fast_tanh(x), 1);
    EXPECT_EQ(fast_tanh(-x), -1);
    EXPECT_EQ(fast_exp(-x), fast_exp(-87));
    EXPECT_EQ(fast_exp(x), fast_exp(87));
  }
  for (const float value : {fast_exp(kNaN), sigmoid(kNaN), fast_tanh(kNaN)}) EXPECT_TRUE(std::isnan(value));
}

}  // namespace
}  // namespace fewbits::federated
