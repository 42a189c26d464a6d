#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "federated/plan_entry.h"
#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "synthetic_task.h"

// Streams: examples that are seen once, in their order.
namespace fewbits::federated {
namespace {

// What all models of a test have been shown: of each example, its owner and its place in the owner's stream.
struct Log {
  std::mutex mutex;
  std::map<std::uint32_t, std::vector<std::uint32_t>> seen;
  std::size_t most_rows = 0;
};

// One parameter, which does not learn; an example's feature is its owner, its target its place.
class Recording final : public Model {
 public:
  explicit Recording(Log& log) : log_(log) {}
  const Layout& layout() const noexcept override { return layout_; }
  void initialize(std::uint64_t, std::span<float> parameters) const override { parameters[0] = 1; }
  double loss_and_gradient(std::span<const float>, const Examples& batch, std::span<float> gradient) override {
    const std::lock_guard lock(log_.mutex);
    for (std::size_t row = 0; row < batch.y.size(); ++row)
      log_.seen[static_cast<std::uint32_t>(batch.x[row])].push_back(static_cast<std::uint32_t>(batch.y[row]));
    log_.most_rows = std::max(log_.most_rows, batch.y.size());
    gradient[0] = 1;
    return 0;
  }
  Score score(std::span<const float>, const Examples& examples) override { return {0, static_cast<double>(examples.y.size())}; }

 private:
  Layout layout_{1};
  Log& log_;
};

// Clients with 0 to 23 examples, whose rows are scattered over the table.
class Streams : public testing::Test {
 protected:
  static constexpr std::uint32_t kClients = 8;
  Streams() {
    std::vector<std::vector<std::uint32_t>> rows(kClients);
    for (std::uint32_t place = 0; place < 24; ++place) {
      for (std::uint32_t client = 0; client < kClients; ++client) {
        if (place >= size_of(client)) continue;
        rows[client].push_back(static_cast<std::uint32_t>(x_.size()));
        x_.push_back(static_cast<float>(client));
        y_.push_back(static_cast<float>(place));
      }
    }
    for (auto& list : rows) std::ranges::reverse(list);   // a stream has the order that the client says
    task_.model = [this] { return std::make_unique<Recording>(log_); };
    task_.shape = {.features = 1};
    task_.train = task_.test = {x_, y_};
    task_.clients = listed_clients(rows);
    options_.seed = 3;
    options_.rounds = 40;
    options_.clients_per_round = 4;
    options_.batch = 2;
    options_.stream = 5;
  }
  static std::size_t size_of(std::uint32_t client) { return (3 * client) % 24; }
  static std::vector<std::uint32_t> in_order(std::uint32_t client, std::size_t count) {
    std::vector<std::uint32_t> places;
    for (std::size_t i = 0; i < count; ++i) places.push_back(static_cast<std::uint32_t>(size_of(client) - 1 - i));
    return places;
  }
  void expect_all_seen_once() {
    for (std::uint32_t client = 0; client < kClients; ++client) EXPECT_EQ(log_.seen[client], in_order(client, size_of(client))) << client;
  }

  std::vector<float> x_, y_;
  Log log_;
  Task task_;
  Options options_;
};

TEST_F(Streams, EachExampleIsSeenOnceAndInOrder) {
  for (const std::size_t threads : {1u, 3u}) {
    log_.seen.clear();
    options_.threads = threads;
    Trainer trainer(task_, options_, {});
    std::map<std::uint32_t, std::size_t> seen;
    while (!trainer.done()) {
      std::set<std::uint32_t> asked;
      trainer.observe(kClients, [&, mutex = std::make_shared<std::mutex>()](const ClientUpdate& update) {
        const std::lock_guard lock(*mutex);
        asked.insert(update.client);
      });
      const RoundResult round = trainer.step().value();
      std::size_t examples = 0;
      for (const std::uint32_t client : asked) {
        EXPECT_LT(seen[client], size_of(client)) << "its stream is over";
        const std::size_t share = std::min<std::size_t>(5, size_of(client) - seen[client]);
        seen[client] += share;
        examples += share;
        EXPECT_EQ(log_.seen[client], in_order(client, seen[client]));
      }
      EXPECT_EQ(round.asked, asked.size());
      EXPECT_EQ(round.clients, asked.size());
      EXPECT_EQ(round.examples, examples);
    }
    expect_all_seen_once();
  }
  EXPECT_EQ(log_.most_rows, 2u);   // in batches
}

TEST_F(Streams, WhenAllAreOverNobodyIsAskedAndTheModelStays) {
  options_.clients_per_round = kClients;
  options_.rounds = 8;
  Trainer trainer(task_, options_, {.server_momentum = 0.5});
  for (int round = 0; round < 5; ++round) trainer.step();   // 21 examples and fewer
  const float model = trainer.parameters()[0];
  const std::size_t shown = log_.seen[7].size();
  for (int round = 5; round < 8; ++round) {
    const RoundResult result = trainer.step().value();
    EXPECT_EQ(result.asked, 0u);
    EXPECT_EQ(result.clients, 0u);
    EXPECT_EQ(result.loss, 0.0);
  }
  EXPECT_EQ(trainer.parameters()[0], model);
  EXPECT_EQ(log_.seen[7].size(), shown);
  expect_all_seen_once();
}

TEST_F(Streams, ARestoredTrainerGoesOnWhereEachStreamWas) {
  std::vector<std::byte> saved = Trainer(task_, options_, {}).save();
  for (std::uint32_t round = 1; round <= options_.rounds; ++round) {
    Trainer next(task_, options_, {});
    next.restore(saved);
    next.step();
    saved = next.save();
  }
  expect_all_seen_once();
  Trainer unbroken(task_, options_, {});
  run(unbroken, [](const RoundResult&) { return true; });
  EXPECT_EQ(saved, unbroken.save());
}

// What was trained on is over, whether the frame arrived or not.
TEST_F(Streams, LossesDoNotTurnTimeBack) {
  options_.links = parse_links("lost=0.5");
  Trainer trainer(task_, options_, {});
  run(trainer, [](const RoundResult&) { return true; });
  expect_all_seen_once();
}

// Sizes are those of what is seen: a client's frame weighs as many examples as it has trained on in this round.
TEST_F(Streams, FramesWeighWhatWasSeen) {
  options_.clients_per_round = kClients;
  options_.stream = 10;
  Trainer trainer(task_, options_, {.learning_rate = 1});
  trainer.step();
  // A step of -1 for each batch of 2: 10 examples make 5 steps, 3 make 2.
  double sum = 0, weight = 0;
  for (std::uint32_t client = 0; client < kClients; ++client) {
    const std::size_t share = std::min<std::size_t>(10, size_of(client));
    sum -= static_cast<double>(share * ((share + 1) / 2));
    weight += static_cast<double>(share);
  }
  EXPECT_FLOAT_EQ(trainer.parameters()[0], static_cast<float>(1 + sum / weight));
}

TEST_F(Streams, WhatDoesNotGoWithThemIsRefused) {
  const auto refusal = [&](const std::string& plan) -> std::string {
    try {
      Trainer(task_, options_, parse_plan_entry(plan, {}).options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadArgument);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal("f32"), "");
  for (const char* plan : {"f32 @ feedback=ef14", "f32 @ feedback=dgc", "f32 @ feedback=reference"}) EXPECT_EQ(refusal(plan), "") << plan;
  // Their server adds up memories by weights that must stay the same.
  for (const char* plan : {"f32 @ feedback=ef21", "f32 @ feedback=diana"})
    EXPECT_NE(refusal(plan).find("stream"), std::string::npos) << plan << ": " << refusal(plan);
  options_.epochs = 2;
  EXPECT_NE(refusal("f32").find("one epoch"), std::string::npos);
  options_.epochs = 1;
  // A model that is not trained by descent sees all examples of a client at once.
  const SyntheticTask synthetic;
  Task clusters = synthetic.task;
  ExampleShape shape = clusters.shape;
  shape.sample = std::span(synthetic.train_x).first(100 * SyntheticTask::kFeatures);
  clusters.model = model_factory("kmeans:clusters=3", shape);
  EXPECT_THROW(Trainer(clusters, options_, {}), Error);
  options_.stream = 0;
  Trainer(clusters, options_, {});
}

}  // namespace
}  // namespace fewbits::federated
