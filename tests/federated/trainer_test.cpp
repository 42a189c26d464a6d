#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "synthetic_task.h"
#include "fewbits/codec.h"
#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "fewbits/structure.h"
#include "tests/federated/run_all.h"

namespace fewbits::federated {
namespace {

Options options() {
  Options result;
  result.seed = 11;
  result.rounds = 6;
  result.clients_per_round = 5;
  result.epochs = 2;
  result.batch = 8;
  return result;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// All but the times.
void expect_same(const std::vector<RoundResult>& a, const std::vector<RoundResult>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].round, b[i].round);
    EXPECT_EQ(a[i].score, b[i].score);
    EXPECT_EQ(a[i].loss, b[i].loss);
    EXPECT_EQ(a[i].clients, b[i].clients);
    EXPECT_EQ(a[i].examples, b[i].examples);
    EXPECT_EQ(a[i].frames, b[i].frames);
    EXPECT_EQ(a[i].upload_bytes, b[i].upload_bytes);
    EXPECT_EQ(a[i].download_bytes, b[i].download_bytes);
  }
}

class EveryPlan : public testing::TestWithParam<const char*> {};

TEST_P(EveryPlan, ResultsDoNotDependOnTheNumberOfThreads) {
  const SyntheticTask synthetic;
  const PlanOptions plan{.plan = GetParam(), .server_momentum = 0.5};
  struct Result {
    std::vector<RoundResult> rounds;
    std::vector<float> parameters;
  };
  const auto trained = [&](std::size_t threads) {
    Options own = options();
    own.threads = threads;
    Trainer trainer(synthetic.task, own, plan);
    Result result{run_all(trainer), {}};
    result.parameters.assign(trainer.parameters().begin(), trainer.parameters().end());
    return result;
  };
  const Result one = trained(1), three = trained(3);
  expect_same(one.rounds, three.rounds);
  EXPECT_TRUE(same_bits(one.parameters, three.parameters));
}

TEST_P(EveryPlan, ARestoredTrainerGoesOnAsTheUnbrokenOne) {
  const SyntheticTask synthetic;
  for (const ServerOptimizer server : {ServerOptimizer::kSgd, ServerOptimizer::kAdam}) {
    const PlanOptions plan{.plan = GetParam(), .learning_rate_decay = 0.9, .server_momentum = 0.5, .server = server, .average = 0.7, .prox = 0.1};
    Trainer unbroken(synthetic.task, options(), plan);
    const std::vector<RoundResult> expected = run_all(unbroken);

    Trainer first(synthetic.task, options(), plan);
    std::vector<RoundResult> rounds;
    run(first, [&](const RoundResult& round) {
      rounds.push_back(round);
      return rounds.size() < 3;
    });
    EXPECT_EQ(first.round(), 3u);
    Trainer second(synthetic.task, options(), plan);
    second.restore(first.save());
    for (const RoundResult& round : run_all(second)) rounds.push_back(round);
    expect_same(rounds, expected);
    EXPECT_TRUE(same_bits(second.parameters(), unbroken.parameters()));
    EXPECT_TRUE(same_bits(second.released(), unbroken.released()));
  }
}

TEST_P(EveryPlan, BytesAreThoseOfFrames) {
  const SyntheticTask synthetic;
  Trainer trainer(synthetic.task, options(), {.plan = GetParam()});
  std::uint64_t frames = 0;
  for (const RoundResult& round : run_all(trainer)) {
    frames += round.clients;
    EXPECT_EQ(round.frames, frames);
    EXPECT_LE(round.upload_bytes, frames * trainer.codec().max_frame_size());
    if (trainer.codec().describe().fixed_size) {
      // But for the header's varints of round and client, at most 14 bytes.
      EXPECT_GE(round.upload_bytes + 14 * frames, frames * trainer.codec().max_frame_size());
    }
    EXPECT_EQ(round.download_bytes, frames * 4 * trainer.parameters().size());
  }
  EXPECT_GT(frames, 0u);
}

INSTANTIATE_TEST_SUITE_P(All, EveryPlan,
                         testing::Values("f32", "hadamard+quantize:bits=2", "hadamard+mask:keep=0.25+quantize:bits=2",
                                         "quantize:bits=4+zstd", "train=mask:keep=0.25 | f32",
                                         "train=mask:keep=0.25 | hadamard+quantize:bits=4"));

// The definition of a round, from the model alone: one full batch a client, so that a client's model is one step.
TEST(Trainer, ARoundIsTheWeightedMeanOfLocalSteps) {
  const SyntheticTask synthetic;
  Options all = options();
  all.rounds = 1;
  all.clients_per_round = synthetic.rows_of_each.size();
  all.epochs = 1;
  all.batch = 1000;
  const PlanOptions plan{.learning_rate = 0.2, .server_learning_rate = 0.7};
  const std::unique_ptr<Model> model = synthetic.task.model();
  std::vector<float> start(model->layout().elements());
  model->initialize(all.seed, start);
  std::vector<double> step(start.size());
  std::vector<float> gradient(start.size());
  for (const auto& rows : synthetic.rows_of_each) {
    if (rows.empty()) continue;
    std::vector<float> x;
    std::vector<float> y;
    for (const std::uint32_t row : rows) {
      for (std::size_t i = 0; i < SyntheticTask::kFeatures; ++i) {
        x.push_back(synthetic.train_x[row * SyntheticTask::kFeatures + i]);
      }
      y.push_back(synthetic.train_y[row]);
    }
    model->loss_and_gradient(start, {x, y}, gradient);
    for (std::size_t i = 0; i < step.size(); ++i) step[i] -= 0.2 * gradient[i] * static_cast<double>(rows.size()) / 400;
  }
  Trainer trainer(synthetic.task, all, plan);
  const auto result = trainer.step();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->examples, 400u);
  EXPECT_EQ(result->clients, synthetic.rows_of_each.size() - 1);  // the last has no examples: it sends nothing
  for (std::size_t i = 0; i < step.size(); ++i) {
    // Rounding of float32 values below 4, a few times.
    ASSERT_NEAR(trainer.parameters()[i], start[i] + 0.7 * step[i], 2e-6) << i;
  }
}

TEST(Trainer, MomentumAddsUpMeans) {
  const SyntheticTask synthetic;
  Options two = options();
  two.rounds = 2;
  Trainer plain(synthetic.task, two, {});
  Trainer heavy(synthetic.task, two, {.server_momentum = 0.9});
  const std::vector<float> start(plain.parameters().begin(), plain.parameters().end());
  plain.step();
  heavy.step();
  EXPECT_TRUE(same_bits(plain.parameters(), heavy.parameters()));  // the first velocity is the mean itself
  const std::vector<float> middle(plain.parameters().begin(), plain.parameters().end());
  plain.step();
  heavy.step();
  for (std::size_t i = 0; i < start.size(); ++i) {
    const double velocity = static_cast<double>(middle[i]) - start[i];
    ASSERT_NEAR(heavy.parameters()[i], plain.parameters()[i] + 0.9 * velocity, 2e-6) << i;
  }
}

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

// Reddi et al. 2020, algorithm 2, from the means that plain averaging shows.
TEST(Trainer, AdamStepsByItsMoments) {
  const SyntheticTask synthetic;
  Options one = options();
  one.rounds = 1;
  Trainer plain(synthetic.task, one, {});
  const std::vector<float> start = copy(plain.parameters());
  plain.step();
  const PlanOptions adam{.server_learning_rate = 0.05, .server_momentum = 0.9, .server = ServerOptimizer::kAdam, .server_beta2 = 0.8, .server_tau = 0.01};
  Trainer trainer(synthetic.task, one, adam);
  trainer.step();
  double moved = 0;
  for (std::size_t i = 0; i < start.size(); ++i) {
    const double mean = static_cast<double>(plain.parameters()[i]) - start[i];
    const double expected = 0.05 * (0.1 * mean) / (std::sqrt(0.2 * mean * mean) + 0.01);
    ASSERT_NEAR(trainer.parameters()[i], start[i] + expected, 2e-6) << i;
    moved = std::max(moved, std::abs(expected));
  }
  EXPECT_GT(moved, 1e-3);
}

// Of the models after rounds 1 to 3, each of which weighs half of the next.
TEST(Trainer, TheAverageOfModelsIsWhatIsEvaluated) {
  const SyntheticTask synthetic;
  Options three = options();
  three.rounds = 3;
  Trainer plain(synthetic.task, three, {});
  Trainer averaged(synthetic.task, three, {.average = 0.5});
  EXPECT_TRUE(same_bits(averaged.released(), averaged.parameters()));   // before the first round
  std::vector<std::vector<float>> models;
  std::optional<RoundResult> last;
  for (int round = 0; round < 3; ++round) {
    plain.step();
    last = averaged.step();
    models.push_back(copy(plain.parameters()));
    EXPECT_TRUE(same_bits(plain.parameters(), averaged.parameters()));   // training does not know of it
  }
  const std::span<const float> released = averaged.released();
  for (std::size_t i = 0; i < released.size(); ++i)
    ASSERT_NEAR(released[i], (models[0][i] + 2.0 * models[1][i] + 4.0 * models[2][i]) / 7, 2e-6) << i;
  EXPECT_TRUE(same_bits(plain.released(), plain.parameters()));
  const std::unique_ptr<Model> model = synthetic.task.model();
  const auto correct = model->score(released, {synthetic.test_x, synthetic.test_y}).sum;
  EXPECT_EQ(*last->score, correct / static_cast<double>(synthetic.task.test.y.size()));
}

// Two full-batch steps: the term is zero in the first, and μ times the first step in the second.
TEST(Trainer, FedProxPullsClientsToTheRoundsModel) {
  const SyntheticTask synthetic;
  Options all = options();
  all.rounds = 1;
  all.batch = 1000;
  const auto after = [&](std::size_t epochs, const char* plan, double prox) {
    all.epochs = epochs;
    Trainer trainer(synthetic.task, all, {.plan = plan, .learning_rate = 0.2, .prox = prox});
    trainer.step();
    return copy(trainer.parameters());
  };
  for (const char* plan : {"f32", "train=mask:keep=0.5 | f32"}) {
    const auto one = after(1, plan, 0), two = after(2, plan, 0), near = after(2, plan, 0.7);
    EXPECT_TRUE(same_bits(after(1, plan, 0.7), one));
    const std::unique_ptr<Model> model = synthetic.task.model();
    std::vector<float> start(one.size());
    model->initialize(all.seed, start);
    for (std::size_t i = 0; i < start.size(); ++i)
      ASSERT_NEAR(near[i], two[i] - 0.2 * 0.7 * (static_cast<double>(one[i]) - start[i]), 2e-6) << plan << i;
  }
}

TEST(Trainer, PlansShareClientsAndBatches) {
  const SyntheticTask synthetic;
  Trainer a(synthetic.task, options(), {.plan = "f32"});
  Trainer b(synthetic.task, options(), {.plan = "hadamard+quantize:bits=8"});
  const auto first = a.step(), second = b.step();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->loss, second->loss);  // the first round's training does not know the codec yet
  EXPECT_EQ(first->examples, second->examples);
}

TEST(Trainer, AStructuredPlanTrainsInsideItsFamily) {
  const SyntheticTask synthetic;
  for (const char* text : {"train=mask:keep=0.25 | f32", "train=lowrank:rank=2 | f32"}) {
    Trainer trainer(synthetic.task, options(), {.plan = text});
    std::vector<float> before(trainer.parameters().begin(), trainer.parameters().end());
    for (std::uint32_t round = 1; round <= 3; ++round) {
      ASSERT_TRUE(trainer.step().has_value());
      std::vector<float> update(before.size()), nearest(before.size());
      double norm = 0;
      for (std::size_t i = 0; i < before.size(); ++i) {
        update[i] = trainer.parameters()[i] - before[i];
        norm += update[i] * update[i];
      }
      const Structure family(trainer.codec(), {options().seed, round});
      std::vector<float> free(family.free_parameters());
      family.project(update, free);
      family.expand(free, nearest);
      double distance = 0;
      for (std::size_t i = 0; i < before.size(); ++i) distance += std::pow(nearest[i] - update[i], 2);
      EXPECT_GT(norm, 1e-4) << text;
      // The update is a difference of float32 values below 4: each is off by 2^-23 at most.
      EXPECT_LT(std::sqrt(distance), std::sqrt(static_cast<double>(before.size())) * 0x1p-22) << text;
      before.assign(trainer.parameters().begin(), trainer.parameters().end());
    }
    EXPECT_LT(trainer.codec().elements(), before.size() / 2);
  }
}

TEST(Trainer, LearnsWithFewBits) {
  const SyntheticTask synthetic;
  Options longer = options();
  longer.rounds = 30;
  for (const char* text : {"f32", "hadamard+quantize:bits=1", "train=mask:keep=0.25 | hadamard+quantize:bits=4"}) {
    Trainer trainer(synthetic.task, longer, {.plan = text});
    const std::vector<RoundResult> rounds = run_all(trainer);
    // Chance is 1/3; the clusters are ten noise deviations apart.
    EXPECT_GT(*rounds.back().score, 0.95) << text;
    EXPECT_LT(rounds.back().loss, rounds.front().loss) << text;
  }
}

TEST(Trainer, SamplingByChanceVariesTheCohort) {
  const SyntheticTask synthetic;
  Options chance = options();
  chance.rounds = 200;
  chance.epochs = 1;
  chance.batch = 100;
  chance.eval_every = 200;
  chance.client_probability = 0.3;
  Trainer trainer(synthetic.task, chance, {});
  std::size_t clients = 0, evaluations = 0;
  for (const RoundResult& round : run_all(trainer)) {
    clients += round.clients;
    evaluations += round.score.has_value();
  }
  EXPECT_EQ(trainer.round(), 200u);
  EXPECT_EQ(evaluations, 1u);
  std::size_t with_data = 0;
  for (const auto& rows : synthetic.rows_of_each) with_data += !rows.empty();
  // Binomial: six standard deviations.
  const double draws = 200.0 * static_cast<double>(with_data);
  EXPECT_NEAR(static_cast<double>(clients), 0.3 * draws, 6 * std::sqrt(draws * 0.3 * 0.7));
}

TEST(Trainer, EvaluatesWhereAskedAndAtTheEnd) {
  const SyntheticTask synthetic;
  Options some = options();
  some.rounds = 5;
  some.eval_every = 3;
  Trainer trainer(synthetic.task, some, {});
  std::vector<bool> evaluated;
  for (const RoundResult& round : run_all(trainer)) evaluated.push_back(round.score.has_value());
  EXPECT_EQ(evaluated, (std::vector<bool>{false, false, true, false, true}));
}

TEST(Trainer, DivergedTrainingStopsWithAWordAndKeepsTheModel) {
  const SyntheticTask synthetic;
  for (const PlanOptions& plan : {PlanOptions{.learning_rate = 1e6}, PlanOptions{.server_learning_rate = 1e300}}) {
    Trainer trainer(synthetic.task, options(), plan);
    const std::vector<RoundResult> rounds = run_all(trainer);
    EXPECT_LT(rounds.size(), 6u);
    EXPECT_TRUE(trainer.done());
    EXPECT_EQ(trainer.stopped().rfind("diverged in round " + std::to_string(rounds.size() + 1), 0), 0u) << trainer.stopped();
    for (const float value : trainer.parameters()) ASSERT_TRUE(std::isfinite(value));
    Trainer restored(synthetic.task, options(), plan);
    restored.restore(trainer.save());
    EXPECT_TRUE(restored.done());
    EXPECT_EQ(restored.stopped(), trainer.stopped());
  }
}

// Another model, which throws once: in so many calls from now.
class Failing final : public Model {
 public:
  struct Countdown {
    int gradients = 0, scores = 0;
  };
  Failing(std::unique_ptr<Model> inner, Countdown& countdown) : inner_(std::move(inner)), countdown_(&countdown) {}
  const Layout& layout() const noexcept override { return inner_->layout(); }
  void initialize(std::uint64_t seed, std::span<float> parameters) const override { inner_->initialize(seed, parameters); }
  double loss_and_gradient(std::span<const float> parameters, const Examples& batch, std::span<float> gradient) override {
    count(countdown_->gradients);
    return inner_->loss_and_gradient(parameters, batch, gradient);
  }
  Score score(std::span<const float> parameters, const Examples& examples) override {
    count(countdown_->scores);
    return inner_->score(parameters, examples);
  }

 private:
  static void count(int& left) {
    if (left > 0 && --left == 0) throw std::runtime_error("no more");
  }
  std::unique_ptr<Model> inner_;
  Countdown* countdown_;
};

TEST(Trainer, ARoundWhoseModelThrowsIsDoneByTheNextStep) {
  const SyntheticTask synthetic;
  Failing::Countdown countdown;
  Task failing = synthetic.task;
  failing.model = [&] { return std::make_unique<Failing>(synthetic.task.model(), countdown); };
  Options one_thread = options();
  one_thread.threads = 1;
  for (const PlanOptions& plan : {PlanOptions{.server_momentum = 0.5}, PlanOptions{.downlink = "quantize:bits=4"},
                                  PlanOptions{.plan = "trellis:bits=0.5,scale=profile"},
                                  PlanOptions{.plan = "topk:keep=0.1+f32", .feedback = Feedback::kEf14}}) {
    Trainer unbroken(synthetic.task, one_thread, plan);
    const std::vector<RoundResult> expected = run_all(unbroken);
    Trainer trainer(failing, one_thread, plan);
    std::vector<RoundResult> rounds;
    while (!trainer.done()) {
      for (const Failing::Countdown& next : {Failing::Countdown{.gradients = 5}, Failing::Countdown{.scores = 2}}) {
        countdown = next;
        EXPECT_THROW(trainer.step(), std::runtime_error);
        EXPECT_FALSE(trainer.done());
        EXPECT_EQ(trainer.round(), rounds.size() + (next.scores > 0 ? 1 : 0));
        if (next.scores > 0) break;
        Trainer other(synthetic.task, one_thread, plan);
        other.restore(trainer.save());
        EXPECT_EQ(other.step()->score, expected[rounds.size()].score);
      }
      rounds.push_back(*trainer.step());
    }
    expect_same(rounds, expected);
    EXPECT_TRUE(same_bits(trainer.parameters(), unbroken.parameters()));
  }
}

TEST(Trainer, CheckpointsOfOthersAndDamagedOnesAreRefused) {
  const SyntheticTask synthetic;
  Trainer trainer(synthetic.task, options(), {});
  trainer.step();
  const std::vector<std::byte> saved = trainer.save();

  Trainer other_plan(synthetic.task, options(), {.plan = "hadamard+quantize:bits=1"});
  EXPECT_THROW(other_plan.restore(saved), Error);
  Options other_seed = options();
  other_seed.seed = 12;
  Trainer seeded(synthetic.task, other_seed, {});
  EXPECT_THROW(seeded.restore(saved), Error);
  Trainer with_momentum(synthetic.task, options(), {.server_momentum = 0.5});
  EXPECT_THROW(with_momentum.restore(saved), Error);

  Trainer same(synthetic.task, options(), {});
  const std::vector<float> before(same.parameters().begin(), same.parameters().end());
  for (std::size_t i = 0; i < saved.size(); i += 97) {
    std::vector<std::byte> damaged = saved;
    damaged[i] ^= std::byte{4};
    EXPECT_THROW(same.restore(damaged), Error) << i;
    EXPECT_THROW(same.restore(std::span(saved).first(i)), Error) << i;
  }
  EXPECT_TRUE(same_bits(same.parameters(), before));
  same.restore(saved);
  EXPECT_TRUE(same_bits(same.parameters(), trainer.parameters()));
}

TEST(Trainer, OptionsOutOfRangeAreRefused) {
  const SyntheticTask synthetic;
  const auto refused = [&](auto change) {
    Options changed = options();
    PlanOptions plan;
    change(changed, plan);
    EXPECT_THROW(Trainer(synthetic.task, changed, plan), Error);
  };
  refused([](Options& o, PlanOptions&) { o.rounds = 0; });
  refused([](Options& o, PlanOptions&) { o.batch = 0; });
  refused([](Options& o, PlanOptions&) { o.epochs = 0; });
  refused([](Options& o, PlanOptions&) { o.eval_every = 0; });
  refused([](Options& o, PlanOptions&) { o.clients_per_round = 13; });
  refused([](Options& o, PlanOptions&) { o.client_probability = 1.5; });
  refused([](Options& o, PlanOptions&) { o.client_probability = std::nan(""); });
  refused([](Options&, PlanOptions& p) { p.learning_rate = 0; });
  refused([](Options&, PlanOptions& p) { p.server_momentum = 1; });
  refused([](Options&, PlanOptions& p) { p.average = 1; });
  refused([](Options&, PlanOptions& p) { p.server_beta2 = -0.1; });
  refused([](Options&, PlanOptions& p) { p.server_tau = 0; });
  refused([](Options&, PlanOptions& p) { p.prox = NAN; });
  refused([](Options&, PlanOptions& p) { p.plan = "no-such-stage"; });
}

}  // namespace
}  // namespace fewbits::federated
