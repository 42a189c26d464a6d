#include <gtest/gtest.h>

#include "federated/plan_entry.h"
#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "fewbits/federated/summary.h"

namespace fewbits::federated {
namespace {

std::vector<RoundResult> rounds_of(const std::vector<std::optional<double>>& accuracies) {
  std::vector<RoundResult> rounds;
  for (const auto& accuracy : accuracies) {
    RoundResult round;
    round.round = static_cast<std::uint32_t>(rounds.size() + 1);
    round.score = accuracy;
    round.frames = 2 * round.round;
    round.upload_bytes = 100 * round.round;
    round.download_bytes = 400 * round.round;
    round.train_seconds = 3;
    round.encode_seconds = 0.5;
    round.decode_seconds = 0.5;
    rounds.push_back(round);
  }
  return rounds;
}

TEST(Summary, AccuracyIsTheMeanOfTheLastFiveEvaluations) {
  const auto smoothed = smoothed_scores(rounds_of({0.1, 0.2, std::nullopt, 0.3, 0.4, 0.5, 0.6}));
  ASSERT_EQ(smoothed.size(), 7u);
  EXPECT_DOUBLE_EQ(*smoothed[0], 0.1);
  EXPECT_DOUBLE_EQ(*smoothed[1], 0.15);
  EXPECT_DOUBLE_EQ(*smoothed[2], 0.15);
  EXPECT_DOUBLE_EQ(*smoothed[5], 0.3);
  EXPECT_DOUBLE_EQ(*smoothed[6], 0.4);
  EXPECT_FALSE(smoothed_scores(rounds_of({std::nullopt}))[0].has_value());
}

TEST(Summary, TheTargetIsReachedByTheSmoothedAccuracy) {
  const auto rounds = rounds_of({0.1, 0.9, 0.1, 0.9, 0.5, 0.9, 0.1});
  // Means: 0.1, 0.5, 0.3667, 0.5, 0.5, 0.66, 0.5
  const Summary summary = summarize(rounds, 50, {}, 0.6);
  EXPECT_EQ(summary.rounds_to_target, 6u);
  EXPECT_EQ(summary.upload_bytes_to_target, 600u);
  EXPECT_DOUBLE_EQ(*summary.best_score, 0.66);
  EXPECT_DOUBLE_EQ(*summary.final_score, 0.5);
  EXPECT_EQ(summary.upload_bytes, 700u);
  EXPECT_EQ(summary.download_bytes, 2800u);
  EXPECT_DOUBLE_EQ(summary.bits_per_coordinate, 8.0 * 700 / (14 * 50));
  EXPECT_DOUBLE_EQ(summary.codec_time_share, 0.25);
  // Of errors the least is the best, and a target is reached from above.
  const Summary errors = summarize(rounds_of({0.9, 0.5, 0.7}), 50, {.name = "rmse", .higher_is_better = false}, 0.7);
  EXPECT_DOUBLE_EQ(*errors.best_score, 0.7);
  EXPECT_EQ(*errors.rounds_to_target, 2u);
  EXPECT_FALSE(summarize(rounds, 50, {}, 0.7).rounds_to_target.has_value());
  EXPECT_FALSE(summarize(rounds, 50, {}, std::nullopt).upload_bytes_to_target.has_value());
}

TEST(Summary, OfNothingIsEmpty) {
  const Summary summary = summarize({}, 50, {}, 0.5);
  EXPECT_FALSE(summary.best_score || summary.final_score || summary.rounds_to_target);
  EXPECT_EQ(summary.bits_per_coordinate, 0);
}

TEST(PlanEntry, OwnOptionsReplaceTheDefaults) {
  PlanOptions defaults;
  defaults.server_momentum = 0.5;
  const PlanEntry plain = parse_plan_entry(" train=mask:keep=0.1 | f32 ", defaults);
  EXPECT_EQ(plain.options.plan, "train=mask:keep=0.1 | f32");
  EXPECT_EQ(plain.label, plain.text);
  EXPECT_EQ(plain.options.learning_rate, 0.1);
  EXPECT_EQ(plain.options.server_momentum, 0.5);

  const PlanEntry own = parse_plan_entry("f32 @ lr=0.3,server-lr=2,label=one half,server-momentum=0,lr-decay=0.99", defaults);
  EXPECT_EQ(own.options.plan, "f32");
  EXPECT_EQ(own.label, "one half");
  EXPECT_EQ(own.options.learning_rate, 0.3);
  EXPECT_EQ(own.options.learning_rate_decay, 0.99);
  EXPECT_EQ(own.options.server_learning_rate, 2);
  EXPECT_EQ(own.options.server_momentum, 0);

  const PlanEntry adam = parse_plan_entry("f32 @ server=adam,server-beta2=0.95,server-tau=0.1,average=0.9,prox=0.01", PlanOptions());
  EXPECT_EQ(adam.options.server, ServerOptimizer::kAdam);
  EXPECT_EQ(adam.options.server_momentum, 0.9);   // its own default
  EXPECT_EQ(parse_plan_entry("f32 @ server=adam,server-momentum=0", defaults).options.server_momentum, 0);
  EXPECT_EQ(parse_plan_entry("f32 @ server=adam", defaults).options.server_momentum, 0.5);
  EXPECT_EQ(adam.options.server_beta2, 0.95);
  EXPECT_EQ(adam.options.server_tau, 0.1);
  EXPECT_EQ(adam.options.average, 0.9);
  EXPECT_EQ(adam.options.prox, 0.01);
  EXPECT_THROW(parse_plan_entry("f32 @ server=lamb", defaults), Error);
  EXPECT_THROW(parse_plan_entry("f32 @ average=2", defaults), Error);

  EXPECT_THROW(parse_plan_entry("f32 @ rate=1", defaults), Error);
  EXPECT_THROW(parse_plan_entry("f32 @ lr=fast", defaults), Error);
  EXPECT_THROW(parse_plan_entry("f32 @", defaults), Error);
  EXPECT_THROW(parse_plan_entry(" @ lr=1", defaults), Error);
  EXPECT_THROW(parse_plan_entry("  ", defaults), Error);
}

}  // namespace
}  // namespace fewbits::federated
