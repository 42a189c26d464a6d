#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "federated/checkpoint.h"
#include "federated/client_memory.h"
#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "synthetic_task.h"

// Input vectors, which clients train and keep, and models of their own.
namespace fewbits::federated {
namespace {

constexpr std::size_t kPersonal = 3;

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

Options options() {
  Options result;
  result.seed = 11;
  result.rounds = 5;
  result.clients_per_round = 6;
  result.epochs = 2;
  result.batch = 8;
  return result;
}

// What the trainer's clients keep.
std::map<std::uint32_t, std::vector<float>> vectors_of(const Trainer& trainer, std::size_t clients = 12) {
  ClientMemories memories;
  memories.restore(Checkpoint::from_bytes(trainer.save()).memories);
  std::map<std::uint32_t, std::vector<float>> vectors;
  for (std::uint32_t client = 0; client < clients; ++client)
    if (!memories.of(client).personal.empty()) vectors[client] = memories.of(client).personal;
  return vectors;
}

// Learns nothing from what it is shown behind an example's features; the derivative of its loss by them is 1, 2, 3, shared
// among the rows.
class Deaf final : public Model {
 public:
  const Layout& layout() const noexcept override { return layout_; }
  void initialize(std::uint64_t, std::span<float> parameters) const override { std::ranges::fill(parameters, 0.0f); }
  double loss_and_gradient(std::span<const float> parameters, const Examples& batch, std::span<float> gradient) override {
    const std::size_t width = batch.x.size() / batch.y.size();
    std::ranges::fill(gradient, 0.0f);
    for (std::size_t row = 0; row < batch.y.size(); ++row)
      for (std::size_t i = 0; i < gradient.size(); ++i)
        gradient[i] += (0.1f * parameters[i] - batch.x[row * width + i]) / static_cast<float>(batch.y.size());
    return 1;
  }
  double loss_and_gradients(std::span<const float> parameters, const Examples& batch, std::span<float> gradient,
                            std::span<float> features_gradient) override {
    const std::size_t rows = batch.y.size(), width = SyntheticTask::kFeatures + kPersonal;
    EXPECT_EQ(batch.x.size(), rows * width);
    EXPECT_EQ(features_gradient.size(), rows * width);
    for (std::size_t row = 0; row < rows; ++row) {
      // All rows of a batch have the same vector behind their features.
      EXPECT_TRUE(same_bits(batch.x.subspan(row * width + SyntheticTask::kFeatures, kPersonal), batch.x.last(kPersonal)));
      for (std::size_t i = 0; i < width; ++i)
        features_gradient[row * width + i] = i < SyntheticTask::kFeatures ? 1e6f : static_cast<float>(i + 1 - SyntheticTask::kFeatures) / static_cast<float>(rows);
    }
    return loss_and_gradient(parameters, batch, gradient);
  }
  Score score(std::span<const float>, const Examples& examples) override {
    double sum = 0;
    for (const float value : examples.x) sum += std::abs(value);
    return {sum, static_cast<double>(examples.y.size())};
  }

 private:
  Layout layout_{SyntheticTask::kFeatures};
};

struct DeafTask : SyntheticTask {
  DeafTask() {
    task.model = [] { return std::make_unique<Deaf>(); };
    task.personal = kPersonal;
  }
};

// A vector moves along its own gradient: rate × personal-rate × the sum over a batch, at each step.
TEST(InputVectors, LearnByTheirGradient) {
  const DeafTask deaf;
  Options of = options();
  of.clients_per_round = 12;
  of.personal_rate = 8;
  of.rounds = 3;
  Trainer trainer(deaf.task, of, {.learning_rate = 0.125});
  EXPECT_TRUE(vectors_of(trainer).empty());
  for (std::uint32_t round = 1; round <= of.rounds; ++round) {
    trainer.step();
    const auto vectors = vectors_of(trainer);
    EXPECT_EQ(vectors.size(), 11u);
    for (const auto& [client, vector] : vectors) {
      const auto steps = static_cast<float>(round * 2 * ((deaf.rows_of_each[client].size() + 7) / 8));
      ASSERT_EQ(vector.size(), kPersonal);
      // Rows that share 1, 2 or 3 add up to it but for their roundings.
      for (std::size_t i = 0; i < kPersonal; ++i) EXPECT_NEAR(vector[i], -steps * static_cast<float>(i + 1), 1e-5 * steps) << client;
    }
  }
}

struct Sent {
  std::vector<std::vector<float>> updates;   // by round, then client
  std::vector<std::uint64_t> upload;
  std::vector<float> model;
  std::map<std::uint32_t, std::vector<float>> vectors;
};

Sent sent(const Task& task, double personal_rate, const char* plan, const char* links = nullptr) {
  Options of = options();
  of.personal_rate = personal_rate;
  if (links != nullptr) of.links = parse_links(links);
  Trainer trainer(task, of, {.plan = plan});
  std::mutex mutex;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<float>> seen;
  trainer.observe(100, [&](const ClientUpdate& update) {
    const std::lock_guard lock(mutex);
    seen[{update.round, update.client}] = copy(update.values);
  });
  Sent result;
  while (!trainer.done()) result.upload.push_back(trainer.step().value().upload_bytes);
  for (auto& [key, update] : seen) result.updates.push_back(std::move(update));
  result.model = copy(trainer.parameters());
  result.vectors = vectors_of(trainer);
  return result;
}

// The model cannot hear the vectors. So vectors that differ by a factor of 50 must not change a bit of what is sent, nor of
// what comes of it; were they, or anything of them, in an update, they would.
TEST(InputVectors, NeverLeaveTheirClients) {
  const DeafTask deaf;
  for (const char* plan : {"f32", "hadamard+quantize:bits=2", "trellis:bits=2", "bf16+zstd"}) {
    const Sent a = sent(deaf.task, 1, plan), b = sent(deaf.task, 50, plan);
    ASSERT_FALSE(a.updates.empty());
    EXPECT_EQ(a.updates, b.updates) << plan;
    EXPECT_EQ(a.upload, b.upload) << plan;
    EXPECT_TRUE(same_bits(a.model, b.model)) << plan;
    for (const auto& update : a.updates) EXPECT_EQ(update.size(), SyntheticTask::kFeatures);
    ASSERT_EQ(a.vectors.size(), b.vectors.size());
    for (const auto& [client, vector] : a.vectors) EXPECT_NEAR(b.vectors.at(client)[0] / vector[0], 50, 0.01);
  }
}

TEST(InputVectors, AreKeptWhereTheFrameWasLost) {
  const DeafTask deaf;
  const Sent none = sent(deaf.task, 4, "f32", "lost=1"), all = sent(deaf.task, 4, "f32");
  EXPECT_EQ(none.model, std::vector<float>(SyntheticTask::kFeatures));
  EXPECT_EQ(none.vectors, all.vectors);   // the gradient that they follow does not depend on the model
}

// The clients of SyntheticTask, of whom the odd ones have other labels: one model does not fit both kinds.
struct TwoKinds : SyntheticTask {
  explicit TwoKinds(std::size_t personal = 0) {
    for (std::uint32_t client = 0; client < rows_of_each.size(); ++client) {
      for (const std::uint32_t row : rows_of_each[client])
        if (client % 2 == 1) train_y[row] = static_cast<float>((static_cast<int>(train_y[row]) + 1) % 3);
      const std::size_t keep = rows_of_each[client].size() - rows_of_each[client].size() / 4;
      held.push_back({rows_of_each[client].begin() + static_cast<std::ptrdiff_t>(keep), rows_of_each[client].end()});
      rows_of_each[client].resize(keep);
    }
    task.train = {train_x, train_y};
    task.clients = listed_clients(rows_of_each);
    task.held_out = listed_clients(held).rows;
    ExampleShape shape = task.shape;
    shape.features += personal;
    task.model = model_factory("mlp:hidden=16", shape);
    task.personal = personal;
  }
  std::vector<std::vector<std::uint32_t>> held;
};

// As the trainer should see rows: with a vector behind each.
struct Rows {
  Rows(const std::vector<float>& xs, const std::vector<float>& ys, const std::vector<std::uint32_t>& rows,
       const std::vector<float>& vector) {
    for (const std::uint32_t row : rows) {
      x.insert(x.end(), xs.begin() + row * SyntheticTask::kFeatures, xs.begin() + (row + 1) * SyntheticTask::kFeatures);
      x.insert(x.end(), vector.begin(), vector.end());
      y.push_back(ys[row]);
    }
  }
  Examples examples() const { return {x, y}; }
  std::vector<float> x, y;
};

std::vector<std::uint32_t> everyone() {
  std::vector<std::uint32_t> clients;
  for (std::uint32_t client = 0; client < 12; ++client) clients.push_back(client);
  return clients;
}

double accuracy(Model& model, std::span<const float> parameters, const Rows& rows) {
  const Score score = model.score(parameters, rows.examples());
  return score.sum / score.weight;
}

// Before: the released model, without a vector. After: the client's own, here with its vector alone.
TEST(Personalize, ScoresAreOfWhatIsHeldOut) {
  for (const std::size_t personal : {std::size_t{0}, kPersonal}) {
    const TwoKinds kinds(personal);
    Trainer trainer(kinds.task, options(), {.learning_rate = 0.2, .average = 0.5});
    run(trainer, [](const RoundResult&) { return true; });
    ASSERT_FALSE(same_bits(trainer.released(), trainer.parameters()));
    const auto vectors = vectors_of(trainer);
    EXPECT_EQ(vectors.empty(), personal == 0);
    const std::unique_ptr<Model> model = kinds.task.model();
    const auto results = trainer.personalize(everyone(), {});
    ASSERT_EQ(results.size(), 12u);
    std::size_t changed = 0;
    for (std::uint32_t client = 0; client < 12; ++client) {
      const PersonalResult& result = results[client];
      EXPECT_EQ(result.client, client);
      EXPECT_EQ(result.examples, kinds.held[client].size());
      if (kinds.held[client].empty()) continue;
      const auto score_with = [&](const std::vector<float>& vector) {
        return accuracy(*model, trainer.released(), Rows(kinds.train_x, kinds.train_y, kinds.held[client], vector));
      };
      const std::vector<float> none(personal);
      EXPECT_EQ(result.before, score_with(none)) << client;
      EXPECT_EQ(result.after, score_with(vectors.contains(client) ? vectors.at(client) : none)) << client;
      changed += result.after != result.before;
    }
    EXPECT_EQ(changed > 0, personal > 0);
  }
}

TEST(Personalize, AVectorTellsTheKindsApart) {
  const TwoKinds kinds(kPersonal);
  Options longer = options();
  longer.rounds = 60;
  longer.clients_per_round = 12;
  Trainer trainer(kinds.task, longer, {.learning_rate = 0.2});
  run(trainer, [](const RoundResult&) { return true; });
  double before = 0, after = 0, examples = 0;
  for (const PersonalResult& result : trainer.personalize(everyone(), {})) {
    const auto count = static_cast<double>(result.examples);
    before += count * result.before;
    after += count * result.after;
    examples += count;
  }
  EXPECT_LT(before / examples, 0.75);   // two kinds, which disagree on every label
  EXPECT_GT(after / examples, 0.95);
}

// One full-batch step, by hand, from the held-out examples' score back to the client's own rows.
TEST(Personalize, FineTuningIsDescentOnTheClientsOwnRows) {
  const TwoKinds kinds;
  Options of = options();
  of.batch = 1000;
  Trainer trainer(kinds.task, of, {.learning_rate = 0.2});
  run(trainer, [](const RoundResult&) { return true; });
  const auto results = trainer.personalize(everyone(), {.epochs = 1, .learning_rate = 2});
  const std::unique_ptr<Model> model = kinds.task.model();
  std::size_t changed = 0;
  for (const PersonalResult& result : results) {
    if (result.examples == 0) continue;
    const Rows own(kinds.train_x, kinds.train_y, kinds.rows_of_each[result.client], {});
    std::vector<float> tuned = copy(trainer.released()), gradient(tuned.size());
    model->loss_and_gradient(tuned, own.examples(), gradient);
    for (std::size_t i = 0; i < tuned.size(); ++i) tuned[i] -= 2 * gradient[i];
    // The order in which a batch adds up is the client's own: a score may differ by an example on the edge.
    const double by_hand = accuracy(*model, tuned, Rows(kinds.train_x, kinds.train_y, kinds.held[result.client], {}));
    EXPECT_NEAR(result.after, by_hand, 1.01 / static_cast<double>(result.examples)) << result.client;
    changed += result.after != result.before;
  }
  EXPECT_GT(changed, 3u);
}

TEST(Personalize, HeldOutRowsOfTheTestTable) {
  TwoKinds kinds;
  kinds.task.held_out_of_train = false;
  kinds.task.held_out = [](std::uint32_t client) { return std::vector<std::uint32_t>{client, client + 500, 1199}; };
  Trainer trainer(kinds.task, options(), {});
  trainer.step();
  const std::unique_ptr<Model> model = kinds.task.model();
  const auto results = trainer.personalize(std::vector<std::uint32_t>{7, 2}, {});
  ASSERT_EQ(results.size(), 2u);
  for (const PersonalResult& result : results)
    EXPECT_EQ(result.before, accuracy(*model, trainer.released(), Rows(kinds.test_x, kinds.test_y, {result.client, result.client + 500, 1199}, {})));
}

TEST(Personalize, DependsOnNoThreadsAndChangesNothing) {
  const TwoKinds kinds(kPersonal);
  std::vector<std::vector<PersonalResult>> all;
  for (const std::size_t threads : {1u, 3u}) {
    Options of = options();
    of.threads = threads;
    const PlanOptions plan{.plan = "mask:keep=0.3+f32", .downlink = "bf16", .feedback = Feedback::kEf14};
    Trainer trainer(kinds.task, of, plan);
    for (int i = 0; i < 3; ++i) trainer.step();
    const auto saved = trainer.save();
    const auto parameters = copy(trainer.parameters()), released = copy(trainer.released());
    for (int again = 0; again < 2; ++again) all.push_back(trainer.personalize(everyone(), {.epochs = 3, .learning_rate = 0.3}));
    EXPECT_EQ(trainer.save(), saved);
    EXPECT_TRUE(same_bits(trainer.parameters(), parameters) && same_bits(trainer.released(), released));
    // Neither is there a trace in scratch memory: the next rounds are those of a trainer that was not asked.
    trainer.step();
    Trainer other(kinds.task, of, plan);
    other.restore(saved);
    other.step();
    EXPECT_EQ(trainer.save(), other.save());
  }
  for (const auto& results : all) {
    for (std::size_t i = 0; i < results.size(); ++i) {
      EXPECT_EQ(results[i].before, all[0][i].before);
      EXPECT_EQ(results[i].after, all[0][i].after);
      EXPECT_EQ(results[i].examples, all[0][i].examples);
    }
  }
}

TEST(Personalize, NeedsExamplesThatAreHeldOut) {
  const SyntheticTask synthetic;
  Trainer trainer(synthetic.task, options(), {});
  EXPECT_THROW(trainer.personalize(everyone(), {}), Error);
}

TEST(InputVectors, WhatDoesNotGoWithThemIsRefused) {
  const DeafTask deaf;
  Options of = options();
  for (const double rate : {0.0, -1.0, std::nan("")}) {
    of.personal_rate = rate;
    EXPECT_THROW(Trainer(deaf.task, of, {}), Error) << rate;
  }
}

}  // namespace
}  // namespace fewbits::federated
