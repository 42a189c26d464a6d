#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "federated/attack.h"
#include "fewbits/error.h"
#include "tests/federated/synthetic_task.h"

namespace fewbits::federated {
namespace {

TEST(Reconstruct, TakesTheUnitWhoseBiasHasChangedMost) {
  // Two pixels, three units; unit 2 saw (4, 2) and its bias fell.
  const std::vector<float> weight = {1, 0, -2, 5, 0, -1}, bias = {0.1f, 0, -0.5f};
  EXPECT_EQ(reconstruct(weight, bias), (std::vector<float>{4, 2}));
  // Noise has turned the bias around: an image is bright all the same.
  EXPECT_EQ(reconstruct(weight, std::vector<float>{0.1f, 0, 0.5f}), (std::vector<float>{4, 2}));
  // Biases that have been coded away: the longest weights.
  EXPECT_EQ(reconstruct(weight, std::vector<float>{0, 0, 0}), (std::vector<float>{1, 5}));
}

class Attack : public testing::TestWithParam<const char*> {};

TEST_P(Attack, ReadsOneExampleAndNoNoise) {
  SyntheticTask synthetic(12, GetParam());
  for (float& value : synthetic.train_x) value = std::abs(value);   // as pixels
  AttackOptions options{.runs = 30, .shown = 4};
  for (const char* plan : {"f32", "trellis:bits=4"})
    for (const std::size_t steps : {1, 5}) options.settings.push_back({.plan = plan, .local_steps = steps});
  options.settings.push_back({.batch = 8});
  options.settings.push_back({.clients = 10});
  options.settings.push_back({.noise_multiplier = 1});
  const AttackReport report = attack(synthetic.task, options);
  ASSERT_EQ(report.results.size(), 7u);
  EXPECT_LT(report.mean_image.mean, 0.97);
  EXPECT_EQ(report.victims.size(), 4 * SyntheticTask::kFeatures);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(report.results[i].reads) << i;
    EXPECT_GT(report.results[i].cosine.mean, i < 2 ? 0.9999 : 0.95) << i;
    EXPECT_EQ(report.results[i].images.size(), 4 * SyntheticTask::kFeatures);
  }
  for (std::size_t i = 4; i < 7; ++i) {
    EXPECT_FALSE(report.results[i].reads) << i;
    EXPECT_GE(report.results[i].closest.mean, report.results[i].cosine.mean) << i;
  }
  EXPECT_LT(report.results[6].cosine.mean, 0.8);
}
INSTANTIATE_TEST_SUITE_P(Models, Attack, testing::Values("softmax", "mlp:hidden=16"));

TEST(AttackRefusals, SayWhatIsAttacked) {
  const SyntheticTask synthetic;
  const auto refusal = [](const Task& task, const AttackOptions& options) -> std::string {
    try {
      attack(task, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  Task numbers = synthetic.task;
  numbers.shape.classes = 0;
  EXPECT_NE(refusal(numbers, {.settings = {{}}}).find("images"), std::string::npos);
  EXPECT_NE(refusal(synthetic.task, {.runs = 1, .settings = {{}}}).find("runs"), std::string::npos);
  EXPECT_NE(refusal(synthetic.task, {.settings = {{.clients = 400}}}).find("more images"), std::string::npos);
  EXPECT_NE(refusal(synthetic.task, {.settings = {{.plan = "train=mask:keep=0.5 | f32"}}}).find("train="), std::string::npos);
}

}  // namespace
}  // namespace fewbits::federated
