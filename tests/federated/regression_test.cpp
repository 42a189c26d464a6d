#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "federated/score.h"
#include "model_checks.h"

namespace fewbits::federated {
namespace {

using Values = std::vector<double>;

constexpr std::size_t kRows = 40, kFeatures = 7, kColumns = 9, kClasses = 4;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

const ExampleShape kValuesToValue{.features = kFeatures};
const ExampleShape kColumnsToValue{.features = 3, .tokens = kColumns};
const ExampleShape kValuesToClass{.features = kFeatures, .classes = kClasses};

// Of the first `weights` parameters.
double plain_penalty(const Values& at, std::size_t weights, double l2) {
  double squares = 0;
  for (std::size_t i = 0; i < weights; ++i) squares += at[i] * at[i];
  return l2 / 2 * squares;
}

// Mean of half the squared errors of x w + b; x has shape [kRows, w + 1 values of `at`].
double plain_squares(const Values& at, const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0;
  const std::size_t features = at.size() - 1;
  for (std::size_t row = 0; row < y.size(); ++row) {
    double off = at.back() - y[row];
    for (std::size_t i = 0; i < features; ++i) off += at[i] * x[row * features + i];
    sum += off * off / 2;
  }
  return sum / static_cast<double>(y.size());
}

// Columns written out; one that a row names twice counts twice.
std::vector<float> one_hot(const std::vector<float>& columns) {
  std::vector<float> x(kRows * kColumns);
  for (std::size_t i = 0; i < columns.size(); ++i) x[i / 3 * kColumns + static_cast<std::size_t>(columns[i])] += 1;
  return x;
}

// float32 rounds sums of 40 values of a few units, divided by 40.
TEST(Linear, GradientIsTheDerivativeOfTheLoss) {
  const auto x = normal_values(kRows * kFeatures, 1), y = normal_values(kRows, 2);
  for (const auto& [text, l2] : {std::pair{"linear", 0.0}, std::pair{"linear:l2=0.3", 0.3}}) {
    const auto model = model_factory(text, kValuesToValue)();
    const auto plain = [&, l2 = l2](const Values& at) {
      return plain_squares(at, x, y) + plain_penalty(at, kFeatures, l2);
    };
    expect_loss_and_gradient(*model, {x, y}, plain, 2e-6);
  }
}

TEST(Linear, GradientOnColumnsIsThatOnOnesAndZeros) {
  const auto columns = numbers_below(kColumns, kRows * 3, 1), y = normal_values(kRows, 2);
  const auto x = one_hot(columns);
  for (const auto& [text, l2] : {std::pair{"linear", 0.0}, std::pair{"linear:l2=0.3", 0.3}}) {
    const auto model = model_factory(text, kColumnsToValue)();
    const auto plain = [&, l2 = l2](const Values& at) {
      return plain_squares(at, x, y) + plain_penalty(at, kColumns, l2);
    };
    expect_loss_and_gradient(*model, {columns, y}, plain, 2e-6);
  }
}

TEST(Linear, AColumnThatNoRowNamesHasNoGradient) {
  auto columns = numbers_below(kColumns, kRows * 3, 1);
  for (float& column : columns) column = column == 4 ? 5 : column;
  const auto y = normal_values(kRows, 2);
  const auto model = model_factory("linear", kColumnsToValue)();
  std::vector<float> gradient(kColumns + 1, kNaN);
  model->loss_and_gradient(shaken(*model, 1), {columns, y}, gradient);
  for (std::size_t i = 0; i < gradient.size(); ++i) EXPECT_EQ(gradient[i] == 0, i == 4) << i;
}

TEST(Linear, ScoreIsTheRootOfTheMeanSquaredErrorOverAllParts) {
  const auto x = normal_values(kRows * kFeatures, 1), y = normal_values(kRows, 2);
  const auto model = model_factory("linear:l2=5", kValuesToValue)();
  const std::vector<float> parameters = shaken(*model, 1);
  const std::span<const float> xs(x), ys(y);
  const std::array parts{model->score(parameters, {xs.first(3 * kFeatures), ys.first(3)}),
                         model->score(parameters, {xs.subspan(3 * kFeatures), ys.subspan(3)})};
  const double mean = 2 * plain_squares(Values(parameters.begin(), parameters.end()), x, y);
  EXPECT_NEAR(value_of(parts, model->metric()), std::sqrt(mean), 1e-12);
  EXPECT_EQ(model->metric().name, "rmse");
  EXPECT_FALSE(model->metric().higher_is_better);
}

TEST(Linear, StartsAtZero) {
  EXPECT_EQ(initial(*model_factory("linear", kValuesToValue)(), 1), std::vector<float>(kFeatures + 1));
  EXPECT_EQ(model_factory("linear", kColumnsToValue)()->layout().text(), "linear.weight\t9,1\nlinear.bias\t1\n");
}

TEST(Linear, NaNStays) {
  const auto x = normal_values(kRows * kFeatures, 1), y = normal_values(kRows, 2);
  const auto model = model_factory("linear", kValuesToValue)();
  for (const std::size_t at : {std::size_t{2}, kFeatures}) {
    std::vector<float> parameters = shaken(*model, 1), gradient(parameters.size());
    parameters[at] = kNaN;
    EXPECT_TRUE(std::isnan(model->loss_and_gradient(parameters, {x, y}, gradient)));
    EXPECT_TRUE(std::isnan(model->score(parameters, {x, y}).sum));
  }
}

TEST(Linear, RefusesWhatIsNotOneRealValue) {
  for (const ExampleShape& shape : {kValuesToClass, ExampleShape{.features = 3, .targets = 2}}) {
    EXPECT_NE(refusal("linear", shape).find("is for one real value as target; these examples have"), std::string::npos)
        << refusal("linear", shape);
  }
  EXPECT_NE(refusal("linear:l2=-1", kValuesToValue).find("l2"), std::string::npos);
  EXPECT_EQ(refusal("linear:l2=0.5", kColumnsToValue), "accepted");
}

Values plain_scores(const Values& at, const float* x) {
  Values scores(at.end() - kClasses, at.end());
  for (std::size_t i = 0; i < kFeatures; ++i) {
    for (std::size_t c = 0; c < kClasses; ++c) scores[c] += at[i * kClasses + c] * x[i];
  }
  return scores;
}

double plain_hinge(const Values& at, const std::vector<float>& x, const std::vector<float>& y, double l2) {
  double loss = 0;
  for (std::size_t row = 0; row < y.size(); ++row) {
    const Values scores = plain_scores(at, x.data() + row * kFeatures);
    for (std::size_t c = 0; c < kClasses; ++c) {
      loss += std::max(0.0, 1 - (static_cast<std::size_t>(y[row]) == c ? scores[c] : -scores[c]));
    }
  }
  return loss / static_cast<double>(y.size()) + plain_penalty(at, kFeatures * kClasses, l2);
}

// Examples so large that some are beyond their margin; none is within 1e-4 of it, where there is no derivative.
TEST(SupportVector, GradientIsTheDerivativeOfTheLoss) {
  auto x = normal_values(kRows * kFeatures, 1);
  for (float& value : x) value *= 5;
  const auto y = numbers_below(kClasses, kRows, 2);
  for (const auto& [text, l2] : {std::pair{"svm", 1e-4}, std::pair{"svm:l2=0", 0.0}, std::pair{"svm:l2=0.5", 0.5}}) {
    const auto model = model_factory(text, kValuesToClass)();
    const auto parameters = shaken(*model, 3);
    const Values at(parameters.begin(), parameters.end());
    std::size_t beyond = 0;
    for (std::size_t row = 0; row < kRows; ++row) {
      const Values scores = plain_scores(at, x.data() + row * kFeatures);
      for (std::size_t c = 0; c < kClasses; ++c) {
        const double missing = 1 - (static_cast<std::size_t>(y[row]) == c ? scores[c] : -scores[c]);
        beyond += missing < 0;
        ASSERT_GT(std::abs(missing), 1e-4);
      }
    }
    EXPECT_GT(beyond, 10u);
    expect_loss_and_gradient(*model, {x, y}, [&, l2 = l2](const Values& p) { return plain_hinge(p, x, y, l2); }, 1e-5);
  }
}

TEST(SupportVector, ScoreCountsTheLargestScores) {
  const auto x = normal_values(500 * kFeatures, 1), y = numbers_below(kClasses, 500, 2);
  const auto model = model_factory("svm", kValuesToClass)();
  const auto parameters = shaken(*model, 3);
  double count = 0;
  for (std::size_t row = 0; row < 500; ++row) {
    const Values scores = plain_scores(Values(parameters.begin(), parameters.end()), x.data() + row * kFeatures);
    count += std::max_element(scores.begin(), scores.end()) - scores.begin() == static_cast<std::ptrdiff_t>(y[row]);
  }
  const Score score = model->score(parameters, {x, y});
  EXPECT_EQ(score.sum, count);
  EXPECT_EQ(score.weight, 500);
  EXPECT_EQ(model->metric().name, "accuracy");
}

TEST(SupportVector, NaNIsNeitherALossNorRight) {
  const auto x = normal_values(kRows * kFeatures, 1), y = numbers_below(kClasses, kRows, 2);
  const auto model = model_factory("svm:l2=0", kValuesToClass)();
  std::vector<float> parameters(model->layout().elements(), kNaN), gradient(parameters.size());
  EXPECT_TRUE(std::isnan(model->loss_and_gradient(parameters, {x, y}, gradient)));
  EXPECT_EQ(model->score(parameters, {x, y}).sum, 0);
}

TEST(SupportVector, RefusesWhatHasNoClasses) {
  EXPECT_NE(refusal("svm", kValuesToValue).find("is for values that are put into classes"), std::string::npos);
  EXPECT_NE(refusal("svm", kColumnsToValue).find("is for values that are put into classes"), std::string::npos);
  EXPECT_NE(refusal("svm:l2=x", kValuesToClass).find("l2"), std::string::npos);
  EXPECT_EQ(refusal("svm", kValuesToClass), "accepted");
}

}  // namespace
}  // namespace fewbits::federated
