#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "federated/score.h"
#include "model_checks.h"

namespace fewbits::federated {
namespace {

using Values = std::vector<double>;

constexpr std::size_t kRows = 300, kFeatures = 5;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Groups around three points, some of them uneven.
std::vector<float> groups() {
  std::vector<float> x = normal_values(kRows * kFeatures, 1);
  const std::vector<float> group = numbers_below(3, kRows, 2);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += 2 * group[i / kFeatures] * static_cast<float>(i % kFeatures);
  return x;
}

std::unique_ptr<Model> k_means(std::span<const float> sample, std::size_t clusters) {
  return model_factory("kmeans:clusters=" + std::to_string(clusters), {.features = kFeatures, .sample = sample})();
}

struct Lloyd {
  double loss = 0;
  Values centres;
};

// One step by its definition.
Lloyd plain_step(const std::vector<float>& centres, const std::vector<float>& x) {
  const std::size_t clusters = centres.size() / kFeatures, rows = x.size() / kFeatures;
  Lloyd result{.centres = Values(centres.begin(), centres.end())};
  std::vector<Values> sums(clusters, Values(kFeatures));
  std::vector<double> counts(clusters);
  for (std::size_t row = 0; row < rows; ++row) {
    std::size_t best = 0;
    double least = 1e300;
    for (std::size_t c = 0; c < clusters; ++c) {
      double distance = 0;
      for (std::size_t i = 0; i < kFeatures; ++i) {
        const double a = x[row * kFeatures + i], b = centres[c * kFeatures + i];
        distance += (a - b) * (a - b);
      }
      if (distance < least) {
        least = distance;
        best = c;
      }
    }
    result.loss += least / static_cast<double>(rows);
    ++counts[best];
    for (std::size_t i = 0; i < kFeatures; ++i) sums[best][i] += x[row * kFeatures + i];
  }
  for (std::size_t i = 0; i < centres.size(); ++i) {
    if (counts[i / kFeatures] > 0) result.centres[i] = sums[i / kFeatures][i % kFeatures] / counts[i / kFeatures];
  }
  return result;
}

TEST(KMeans, AStepIsLloyds) {
  const std::vector<float> x = groups();
  const auto model = k_means(x, 4);
  std::vector<float> centres = initial(*model, 1);
  for (int step = 0; step < 5; ++step) {
    const Lloyd expected = plain_step(centres, x);
    EXPECT_NEAR(model->improve(centres, {x, {}}), expected.loss, 1e-9);
    for (std::size_t i = 0; i < centres.size(); ++i) EXPECT_EQ(centres[i], static_cast<float>(expected.centres[i]));
  }
}

TEST(KMeans, TheDistanceNeverGrows) {
  const std::vector<float> x = groups();
  const auto model = k_means(x, 10);
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    std::vector<float> centres = initial(*model, seed);
    double last = std::numeric_limits<double>::max();
    for (int step = 0; step < 30; ++step) {
      const double loss = model->improve(centres, {x, {}});
      EXPECT_LE(loss, last + 1e-6);  // centres are rounded to float32
      last = loss;
    }
    const Score score = model->score(centres, {x, {}});
    EXPECT_LE(score.sum / score.weight, last + 1e-6);
    EXPECT_EQ(score.weight, kRows);
  }
  EXPECT_EQ(model->metric().name, "distance");
  EXPECT_FALSE(model->metric().higher_is_better);
  EXPECT_FALSE(model->metric().root);
}

TEST(KMeans, ACentreWithoutExamplesStays) {
  const std::vector<float> x = groups();
  const auto model = k_means(x, 3);
  std::vector<float> centres = initial(*model, 1);
  std::fill_n(centres.begin() + kFeatures, kFeatures, 1e6f);
  const std::vector<float> before = centres;
  model->improve(centres, {x, {}});
  for (std::size_t i = 0; i < centres.size(); ++i) EXPECT_EQ(centres[i] == before[i], i / kFeatures == 1) << i;
}

// Four pairs of equal points, far apart: the second of a pair has no chance once the first is drawn.
TEST(KMeans, StartsAtExamplesFarFromEachOther) {
  std::vector<float> sample;
  for (std::size_t i = 0; i < 8 * kFeatures; ++i) {
    sample.push_back(static_cast<float>(i / kFeatures % 4 * 10 + i % kFeatures));
  }
  const auto model = k_means(sample, 4);
  std::set<std::vector<float>> starts;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const std::vector<float> centres = initial(*model, seed);
    EXPECT_EQ(centres, initial(*model, seed));
    EXPECT_EQ(model->score(centres, {sample, {}}).sum, 0);
    starts.insert(centres);
  }
  EXPECT_GT(starts.size(), 8u);  // of 24 orders
}

// Chances are as squared distances: from 0, which two thirds of starts take, the points 1 and 3 are chosen 1 : 9.
TEST(KMeans, ChancesAreAsSquaredDistances) {
  const std::vector<float> sample{0, 1, 3};
  const auto model = model_factory("kmeans:clusters=2", {.features = 1, .sample = sample})();
  double from_zero = 0, far = 0;
  for (std::uint64_t seed = 1; seed <= 6000; ++seed) {
    const std::vector<float> centres = initial(*model, seed);
    if (centres[0] != 0) continue;
    ++from_zero;
    far += centres[1] == 3;
  }
  EXPECT_NEAR(from_zero, 2000, 6 * std::sqrt(6000 * 2.0 / 9));
  EXPECT_NEAR(far, from_zero * 0.9, 6 * std::sqrt(from_zero * 0.09));
}

TEST(KMeans, ASampleOfEqualExamplesWillDo) {
  const std::vector<float> sample(4 * kFeatures, 2.0f);
  EXPECT_EQ(initial(*k_means(sample, 3), 1), std::vector<float>(3 * kFeatures, 2.0f));
}

TEST(KMeans, TheSampleMayGoBeforeTheModel) {
  std::vector<float> sample = groups();
  const auto model = k_means(sample, 3);
  const std::vector<float> start = initial(*model, 1);
  std::fill(sample.begin(), sample.end(), 0.0f);
  EXPECT_EQ(initial(*model, 1), start);
}

TEST(KMeans, NaNStays) {
  const std::vector<float> x = groups();
  const auto model = k_means(x, 3);
  for (std::size_t at = 0; at < 3; ++at) {
    std::vector<float> centres = initial(*model, 1);
    centres[at * kFeatures + 2] = kNaN;
    EXPECT_TRUE(std::isnan(model->score(centres, {x, {}}).sum));
    EXPECT_TRUE(std::isnan(model->improve(centres, {x, {}})));
  }
}

TEST(KMeans, Refuses) {
  const std::vector<float> sample(9 * kFeatures + 1);
  const auto with = [&](std::size_t values) {
    return ExampleShape{.features = kFeatures, .sample = std::span(sample).first(values)};
  };
  EXPECT_NE(refusal("kmeans", with(0)).find("a public sample of at least 10; it has 0"), std::string::npos);
  EXPECT_NE(refusal("kmeans", with(9 * kFeatures)).find("it has 9"), std::string::npos);
  EXPECT_NE(refusal("kmeans:clusters=2", with(9 * kFeatures + 1)).find("it has 9"), std::string::npos);
  EXPECT_EQ(refusal("kmeans:clusters=9", with(9 * kFeatures)), "accepted");
  EXPECT_NE(refusal("kmeans:clusters=0", with(0)).find("expected an integer from 1"), std::string::npos);
  EXPECT_NE(refusal("kmeans", {.features = 3, .tokens = 9}).find("is for features that are values"), std::string::npos);
}

// The two models that have no gradient say so; those that have one do not improve.
TEST(Models, ImproveOrDescend) {
  const std::vector<float> x = groups(), y(kRows);
  for (const char* text : {"kmeans", "pca", "softmax"}) {
    const auto model = model_factory(text, {.features = kFeatures, .classes = 2, .sample = x})();
    std::vector<float> parameters = initial(*model, 1), gradient(parameters.size());
    EXPECT_EQ(model->descends(), text == std::string("softmax"));
    if (model->descends()) {
      EXPECT_THROW(model->improve(parameters, {x, y}), Error);
    } else {
      EXPECT_THROW(model->loss_and_gradient(parameters, {x, y}, gradient), Error);
    }
  }
}

std::unique_ptr<Model> axis() { return model_factory("pca", {.features = kFeatures})(); }

TEST(PrincipalAxis, StartsAtALengthOfOne) {
  const auto model = axis();
  const std::vector<float> start = initial(*model, 1);
  EXPECT_EQ(start, initial(*model, 1));
  EXPECT_NE(start, initial(*model, 2));
  double squares = 0;
  for (std::size_t i = 0; i < kFeatures; ++i) {
    EXPECT_EQ(start[i], 0);
    squares += std::pow(static_cast<double>(start[kFeatures + i]), 2);
  }
  EXPECT_NEAR(squares, 1, 1e-6);
  EXPECT_EQ(model->layout().text(), "mean\t5\naxis\t5\n");
}

// From C, written out, around the mean that comes in.
TEST(PrincipalAxis, AStepIsOneOfPowerIteration) {
  const std::vector<float> x = groups();
  const auto model = axis();
  const std::vector<float> before = shaken(*model, 1);
  const Values at(before.begin(), before.end());
  const double* v = at.data() + kFeatures;
  double length = 0;
  for (std::size_t i = 0; i < kFeatures; ++i) length += v[i] * v[i];
  length = std::sqrt(length);
  Values mean(kFeatures), covariance(kFeatures * kFeatures), turned(kFeatures);
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t i = 0; i < kFeatures; ++i) {
      const double a = x[row * kFeatures + i];
      mean[i] += a / kRows;
      for (std::size_t j = 0; j < kFeatures; ++j) {
        covariance[i * kFeatures + j] += (a - at[i]) * (static_cast<double>(x[row * kFeatures + j]) - at[j]) / kRows;
      }
    }
  }
  double total = 0, along = 0;
  for (std::size_t i = 0; i < kFeatures; ++i) {
    total += covariance[i * kFeatures + i];
    for (std::size_t j = 0; j < kFeatures; ++j) turned[i] += covariance[i * kFeatures + j] * v[j] / length;
    along += turned[i] * v[i] / length;
  }
  const Score score = model->score(before, {x, {}});
  EXPECT_NEAR(score.sum / score.weight, along / total, 1e-12);
  std::vector<float> after = before;
  EXPECT_NEAR(model->improve(after, {x, {}}), total - along, 1e-9);
  for (std::size_t i = 0; i < kFeatures; ++i) {
    EXPECT_FLOAT_EQ(after[i], static_cast<float>(mean[i]));
    EXPECT_FLOAT_EQ(after[kFeatures + i], static_cast<float>(turned[i]));
  }
}

// Averages by numbers of examples: off by the rounding of values below 100 to float32.
TEST(PrincipalAxis, ClientsTogetherDoTheStepOfAll) {
  const std::vector<float> x = groups();
  const std::span<const float> all(x);
  const auto model = axis();
  std::vector<float> whole = initial(*model, 1), one = whole, other = whole;
  model->improve(whole, {x, {}});
  model->improve(one, {all.first(70 * kFeatures), {}});
  model->improve(other, {all.subspan(70 * kFeatures), {}});
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR((70 * one[i] + 230 * other[i]) / kRows, whole[i], 1e-4);
}

// The closed form for two features; the share never falls once the mean has settled.
TEST(PrincipalAxis, FindsTheShareOfTheLargestEigenvalue) {
  std::vector<float> x = normal_values(2 * kRows, 1);
  for (std::size_t i = 0; i < x.size(); i += 2) x[i] = 3 + 2 * x[i] + 0.7f * x[i + 1];
  double a = 0, b = 0, c = 0, mean_x = 0, mean_y = 0;
  for (std::size_t i = 0; i < x.size(); i += 2) {
    mean_x += static_cast<double>(x[i]) / kRows;
    mean_y += static_cast<double>(x[i + 1]) / kRows;
  }
  for (std::size_t i = 0; i < x.size(); i += 2) {
    a += std::pow(x[i] - mean_x, 2);
    b += (x[i] - mean_x) * (x[i + 1] - mean_y);
    c += std::pow(x[i + 1] - mean_y, 2);
  }
  const double largest = (a + c) / 2 + std::sqrt((a - c) * (a - c) / 4 + b * b);
  const auto model = model_factory("pca", {.features = 2})();
  std::vector<float> parameters = initial(*model, 1);
  model->improve(parameters, {x, {}});
  double last = 0;
  for (int step = 0; step < 60; ++step) {
    const std::array parts{model->score(parameters, {std::span(x).first(50), {}}),
                           model->score(parameters, {std::span(x).subspan(50), {}})};
    const double share = value_of(parts, model->metric());
    EXPECT_GE(share, last - 1e-7);
    last = share;
    model->improve(parameters, {x, {}});
  }
  EXPECT_NEAR(last, largest / (a + c), 1e-7);
  EXPECT_EQ(model->metric().name, "variance");
  EXPECT_TRUE(model->metric().higher_is_better);
}

TEST(PrincipalAxis, AnAxisOfLengthZeroHasNoVariance) {
  const std::vector<float> x = groups();
  const auto model = axis();
  std::vector<float> parameters(2 * kFeatures);
  EXPECT_EQ(model->score(parameters, {x, {}}).sum, 0);
  model->improve(parameters, {x, {}});
  for (std::size_t i = 0; i < kFeatures; ++i) EXPECT_EQ(parameters[kFeatures + i], 0);
}

TEST(PrincipalAxis, NaNStays) {
  const std::vector<float> x = groups();
  const auto model = axis();
  for (std::size_t at = 0; at < 2 * kFeatures; ++at) {
    std::vector<float> parameters = initial(*model, 1);
    parameters[at] = kNaN;
    EXPECT_TRUE(std::isnan(model->score(parameters, {x, {}}).sum));
    EXPECT_TRUE(std::isnan(model->improve(parameters, {x, {}})));
  }
}

TEST(PrincipalAxis, RefusesTokens) {
  EXPECT_NE(refusal("pca", {.features = 3, .tokens = 9}).find("is for features that are values"), std::string::npos);
}

}  // namespace
}  // namespace fewbits::federated
