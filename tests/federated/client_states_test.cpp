#include "federated/client_states.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "federated/checkpoint.h"
#include "federated/plan_entry.h"
#include "fewbits/error.h"
#include "tests/federated/run_all.h"
#include "synthetic_task.h"

namespace fewbits::federated {
namespace {

Options options() {
  Options result;
  result.seed = 11;
  result.rounds = 8;
  result.clients_per_round = 5;   // of 11 that have examples: clients skip rounds, and come back
  result.epochs = 2;
  result.batch = 8;
  return result;
}

PlanOptions plan_of(const std::string& text) { return parse_plan_entry(text, {}).options; }

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
  return most;
}

class EveryFeedback : public testing::TestWithParam<const char*> {};

TEST_P(EveryFeedback, ResultsDoNotDependOnTheNumberOfThreads) {
  const SyntheticTask synthetic;
  const auto trained = [&](std::size_t threads) {
    Options own = options();
    own.threads = threads;
    Trainer trainer(synthetic.task, own, plan_of(GetParam()));
    run_all(trainer);
    return trainer.save();
  };
  EXPECT_EQ(trained(1), trained(3));
}

// Stopped after each round, saved, and gone on with by another trainer.
TEST_P(EveryFeedback, ARestoredTrainerGoesOnAsTheUnbrokenOne) {
  const SyntheticTask synthetic;
  Trainer unbroken(synthetic.task, options(), plan_of(GetParam()));
  run_all(unbroken);
  std::vector<std::byte> saved = Trainer(synthetic.task, options(), plan_of(GetParam())).save();
  for (std::uint32_t round = 1; round <= options().rounds; ++round) {
    Trainer next(synthetic.task, options(), plan_of(GetParam()));
    next.restore(saved);
    ASSERT_TRUE(next.step().has_value());
    saved = next.save();
  }
  EXPECT_EQ(saved, unbroken.save());
}

TEST_P(EveryFeedback, ChangesWhatIsTrained) {
  const SyntheticTask synthetic;
  Trainer with(synthetic.task, options(), plan_of(GetParam()));
  PlanOptions plain = plan_of(GetParam());
  plain.feedback = Feedback::kNone;
  Trainer without(synthetic.task, options(), plain);
  run_all(with);
  run_all(without);
  EXPECT_FALSE(same_bits(with.parameters(), without.parameters()));
}

TEST_P(EveryFeedback, Learns) {
  const SyntheticTask synthetic;
  Options longer = options();
  longer.rounds = 40;
  Trainer trainer(synthetic.task, longer, plan_of(GetParam()));
  // Chance is 1/3; the clusters are ten noise deviations apart.
  EXPECT_GT(*run_all(trainer).back().score, 0.95);
}

INSTANTIATE_TEST_SUITE_P(
    All, EveryFeedback,
    testing::Values("bf16 @ feedback=ef14", "mask:keep=0.2+f32 @ feedback=ef14",
                    "mask:keep=0.2+f32 @ feedback=ef14,feedback-storage=bf16,feedback-decay=0.8,feedback-max-age=3",
                    "mask:keep=0.3+f32 @ feedback=ef21", "mask:keep=0.5+f32 @ feedback=dgc,feedback-momentum=0.3",
                    "mask:keep=0.5,seed=round+f32 @ feedback=diana,feedback-rate=0.5",
                    "hadamard+quantize:bits=4 @ feedback=reference"));

// Where the codec is exact there is nothing to remember but what both ends add and subtract.
TEST(ClientStates, AnExactCodecTrainsAsWithoutThem) {
  const SyntheticTask synthetic;
  Options all = options();
  all.clients_per_round = synthetic.rows_of_each.size();
  Trainer plain(synthetic.task, all, {});
  run_all(plain);
  Trainer ef14(synthetic.task, all, {.feedback = Feedback::kEf14});
  run_all(ef14);
  EXPECT_TRUE(same_bits(ef14.parameters(), plain.parameters()));
  for (const Feedback feedback : {Feedback::kEf21, Feedback::kDiana, Feedback::kReference}) {
    Trainer shifted(synthetic.task, all, {.feedback = feedback});
    run_all(shifted);
    // Eight rounds in which a difference, its mean and the sum are rounded to 2^-24 of values below 4, a few times.
    EXPECT_LT(largest_difference(shifted.parameters(), plain.parameters()), 1e-4);
  }
}

// EF21's update counts the absent as they were; DIANA's and the reference's are those of the cohort.
TEST(ClientStates, TheAbsentCountInEf21Alone) {
  const SyntheticTask synthetic;
  Trainer plain(synthetic.task, options(), {});
  run_all(plain);
  for (const Feedback feedback : {Feedback::kEf21, Feedback::kReference}) {
    Trainer shifted(synthetic.task, options(), {.feedback = feedback});
    run_all(shifted);
    const double difference = largest_difference(shifted.parameters(), plain.parameters());
    EXPECT_EQ(difference > 1e-3, feedback == Feedback::kEf21) << difference;
  }
}

TEST(ClientStates, AReferenceIsCountedAsDownload) {
  const SyntheticTask synthetic;
  Trainer plain(synthetic.task, options(), {}), reference(synthetic.task, options(), {.feedback = Feedback::kReference});
  EXPECT_EQ(run_all(reference).back().download_bytes, 2 * run_all(plain).back().download_bytes);
}

TEST(ClientStates, WhatDoesNotGoTogetherIsRefused) {
  const SyntheticTask synthetic;
  const auto refused = [&](const PlanOptions& plan) { EXPECT_THROW(Trainer(synthetic.task, options(), plan), Error); };
  for (const Feedback feedback : {Feedback::kEf14, Feedback::kEf21, Feedback::kDgc, Feedback::kDiana, Feedback::kReference})
    refused({.plan = "train=mask:keep=0.25 | f32", .feedback = feedback});
  refused({.plan = "bf16", .feedback = Feedback::kDiana});   // it states no bound, and no rate is given
  refused({.feedback = Feedback::kEf14, .error_feedback = {.momentum = 0.5}});
  refused({.feedback = Feedback::kEf21, .error_feedback = {.storage = StateStorage::kBFloat16}});
}

TEST(ClientStates, CheckpointsOfOthersAndDamagedOnesAreRefused) {
  const SyntheticTask synthetic;
  const PlanOptions plan = plan_of("mask:keep=0.2+f32 @ feedback=ef14");
  Trainer trainer(synthetic.task, options(), plan);
  trainer.step();
  const std::vector<std::byte> saved = trainer.save();
  for (const char* other : {"mask:keep=0.2+f32", "mask:keep=0.2+f32 @ feedback=ef21", "mask:keep=0.2+f32 @ feedback=dgc",
                            "mask:keep=0.2+f32 @ feedback=ef14,feedback-storage=bf16"}) {
    Trainer another(synthetic.task, options(), plan_of(other));
    EXPECT_THROW(another.restore(saved), Error) << other;
    EXPECT_EQ(another.round(), 0u);
  }
  Trainer same(synthetic.task, options(), plan);
  const std::vector<std::byte> before = same.save();
  for (std::size_t i = 0; i < saved.size(); i += 397) {
    std::vector<std::byte> damaged = saved;
    damaged[i] ^= std::byte{4};
    EXPECT_THROW(same.restore(damaged), Error) << i;
    EXPECT_THROW(same.restore(std::span(saved).first(i)), Error) << i;
  }
  EXPECT_EQ(same.save(), before);
  // Damage behind a good checksum, in the last state: it has one of its own.
  Checkpoint checkpoint = Checkpoint::from_bytes(saved);
  EXPECT_EQ(checkpoint.states.clients.size(), 5u);
  checkpoint.states.clients.rbegin()->second[100] ^= std::byte{1};
  EXPECT_THROW(same.restore(checkpoint.to_bytes()), Error);
  EXPECT_EQ(same.save(), before);
  checkpoint = Checkpoint::from_bytes(saved);
  checkpoint.states.clients.emplace(99, checkpoint.states.clients.begin()->second);   // there are twelve clients
  EXPECT_THROW(same.restore(checkpoint.to_bytes()), Error);
  same.restore(saved);
  EXPECT_EQ(same.save(), saved);
}

TEST(PlanEntry, ReadsFeedback) {
  EXPECT_EQ(plan_of("f32").feedback, Feedback::kNone);
  EXPECT_EQ(plan_of("f32 @ feedback=none").feedback, Feedback::kNone);
  EXPECT_EQ(plan_of("f32 @ feedback=ef21").feedback, Feedback::kEf21);
  EXPECT_EQ(plan_of("f32 @ feedback=reference").feedback, Feedback::kReference);
  const PlanOptions ef14 = plan_of("f32 @ feedback=ef14,feedback-storage=bf16,feedback-decay=0.5,feedback-max-age=7,"
                                   "feedback-scale=0.25,lr=0.3");
  EXPECT_EQ(ef14.feedback, Feedback::kEf14);
  EXPECT_EQ(ef14.error_feedback.storage, StateStorage::kBFloat16);
  EXPECT_EQ(ef14.error_feedback.decay, 0.5);
  EXPECT_EQ(ef14.error_feedback.max_age, 7u);
  EXPECT_EQ(ef14.error_feedback.scale, 0.25);
  EXPECT_EQ(ef14.learning_rate, 0.3);
  EXPECT_EQ(plan_of("f32 @ feedback=dgc").error_feedback.momentum, 0.9);
  EXPECT_EQ(plan_of("f32 @ feedback=dgc,feedback-momentum=0.5").error_feedback.momentum, 0.5);
  EXPECT_EQ(plan_of("f32 @ feedback=diana").shift.rate, std::nullopt);
  EXPECT_EQ(plan_of("f32 @ feedback=diana,feedback-rate=0.125").shift.rate, 0.125);
  for (const char* wrong :
       {"f32 @ feedback=ef15", "f32 @ feedback-decay=0.5", "f32 @ feedback=none,feedback-decay=0.5",
        "f32 @ feedback=ef21,feedback-decay=0.5", "f32 @ feedback=ef21,feedback-storage=bf16",
        "f32 @ feedback=ef14,feedback-storage=f16", "f32 @ feedback=ef14,feedback-momentum=0.5",
        "f32 @ feedback=ef14,feedback-rate=0.5", "f32 @ feedback=diana,feedback-scale=0.5",
        "f32 @ feedback=diana,feedback-rate=2", "f32 @ feedback=ef14,feedback-max-age=-1"})
    EXPECT_THROW(plan_of(wrong), Error) << wrong;
}

}  // namespace
}  // namespace fewbits::federated
