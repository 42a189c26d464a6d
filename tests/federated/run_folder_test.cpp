#include "federated/run_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "synthetic_task.h"

namespace fewbits::federated {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

const ordered_json kHeader = {{"type", "run"}, {"settings", {{"seed", 11}}}};
const ordered_json kNames = {{"plan", "f32"}, {"label", "float32"}};

class RunFolderTest : public testing::Test {
 protected:
  RunFolderTest() : folder_(fs::temp_directory_path() / ("fewbits_run_" + std::to_string(getpid()))) {
    fs::remove_all(folder_);
    options_.rounds = 4;
    options_.clients_per_round = 3;
  }
  ~RunFolderTest() override { fs::remove_all(folder_); }

  std::vector<std::string> lines() const {
    std::ifstream in(folder_ / "results.jsonl");
    std::vector<std::string> result;
    for (std::string line; std::getline(in, line);) result.push_back(line);
    return result;
  }
  void write(const std::string& text) const { std::ofstream(folder_ / "results.jsonl") << text; }
  void append(const std::string& text) const { std::ofstream(folder_ / "results.jsonl", std::ios::app) << text; }

  // Two rounds of one plan.
  void begin() {
    RunFolder run = RunFolder::create(folder_, kHeader, false);
    Trainer trainer(synthetic_.task, options_, {});
    for (int i = 0; i < 2; ++i) {
      const RoundResult round = trainer.step().value();
      run.add_round(0, kNames, round, round.score, trainer.save());
    }
  }

  fs::path folder_;
  SyntheticTask synthetic_;
  Options options_;
};

TEST_F(RunFolderTest, AReopenedRunHasItsRoundsAndCheckpoint) {
  begin();
  const std::vector<std::string> before = lines();
  const RunFolder run = RunFolder::open(folder_);
  EXPECT_EQ(run.header(), kHeader);
  ASSERT_EQ(run.rounds(0).size(), 2u);
  EXPECT_TRUE(run.rounds(1).empty());
  EXPECT_EQ(run.rounds(0)[1].round, 2u);
  Trainer trainer(synthetic_.task, options_, {});
  trainer.restore(run.checkpoint(0).value());
  EXPECT_EQ(trainer.round(), 2u);
  EXPECT_EQ(lines(), before);
  EXPECT_EQ(before.size(), 3u);
}

TEST_F(RunFolderTest, LinesBeyondTheCheckpointAreDropped) {
  begin();
  const std::vector<std::string> before = lines();
  ordered_json beyond = ordered_json::parse(before[2]);
  beyond["round"] = 3;
  append(beyond.dump() + "\n" + R"({"type":"stopped","plan":"f32","plan_index":0,"reason":"diverged"})" + "\n");
  append(beyond.dump().substr(0, 40));  // cut off in a write
  const RunFolder run = RunFolder::open(folder_);
  EXPECT_EQ(run.rounds(0).size(), 2u);
  EXPECT_EQ(lines(), before);
}

TEST_F(RunFolderTest, ARoundSurvivesItsLineBitByBit) {
  begin();
  Trainer trainer(synthetic_.task, options_, {});
  const RoundResult first = trainer.step().value();
  const RoundResult read = RunFolder::open(folder_).rounds(0)[0];
  EXPECT_EQ(read.score, first.score);
  EXPECT_EQ(read.loss, first.loss);
  EXPECT_EQ(read.upload_bytes, first.upload_bytes);
  EXPECT_EQ(read.download_bytes, first.download_bytes);
  EXPECT_EQ(read.clients, first.clients);
  EXPECT_EQ(read.examples, first.examples);
  EXPECT_EQ(read.frames, first.frames);
}

TEST_F(RunFolderTest, ALossThatIsNoNumberSurvives) {
  RunFolder run = RunFolder::create(folder_, kHeader, false);
  Trainer trainer(synthetic_.task, options_, {});
  RoundResult round = trainer.step().value();
  round.loss = std::nan("");
  round.score.reset();
  run.add_round(0, kNames, round, std::nullopt, trainer.save());
  const RoundResult read = RunFolder::open(folder_).rounds(0)[0];
  EXPECT_TRUE(std::isnan(read.loss));
  EXPECT_FALSE(read.score.has_value());
}

// Of 40 MB every third round is kept: 16 MB a round.
TEST_F(RunFolderTest, LargeCheckpointsAreWrittenEveryFewRounds) {
  RunFolder run = RunFolder::create(folder_, kHeader, false);
  Options longer = options_;
  longer.rounds = 8;
  Trainer trainer(synthetic_.task, longer, {});
  std::vector<std::byte> state;
  std::vector<bool> due;
  for (int i = 0; i < 8; ++i) {
    const RoundResult round = trainer.step().value();
    due.push_back(run.checkpoint_is_due(0));
    state = trainer.save();
    if (i < 5) state.resize(40u << 20);
    run.add_round(0, kNames, round, round.score, due.back() ? std::optional(state) : std::nullopt);
  }
  // The fourth is large as well; the seventh is small, and so the next one is due again.
  EXPECT_EQ(due, (std::vector<bool>{true, false, false, true, false, false, true, true}));
  EXPECT_TRUE(run.checkpoint_is_due(0));
  EXPECT_TRUE(run.checkpoint_is_due(1));
  EXPECT_EQ(run.checkpoint(0), state);
  EXPECT_EQ(RunFolder::open(folder_).rounds(0).size(), 8u);
}

TEST_F(RunFolderTest, RoundsWithoutACheckpointAreDoneAgain) {
  begin();
  {
    RunFolder run = RunFolder::open(folder_);
    Trainer trainer(synthetic_.task, options_, {});
    trainer.restore(run.checkpoint(0).value());
    for (int i = 0; i < 2; ++i) {
      const RoundResult round = trainer.step().value();
      run.add_round(0, kNames, round, round.score, std::nullopt);
    }
    EXPECT_EQ(lines().size(), 5u);
  }
  EXPECT_EQ(RunFolder::open(folder_).rounds(0).size(), 2u);
  EXPECT_EQ(lines().size(), 3u);
}

TEST_F(RunFolderTest, SeedsHaveRoundsAndCheckpointsOfTheirOwn) {
  RunFolder run = RunFolder::create(folder_, kHeader, false);
  for (const std::uint64_t seed : {21u, 22u}) {
    options_.seed = seed;
    Trainer trainer(synthetic_.task, options_, {});
    for (std::uint64_t i = 0; i < seed - 20; ++i) {
      const RoundResult round = trainer.step().value();
      run.add_round({1, seed}, kNames, round, round.score, trainer.save());
    }
  }
  run.add_stop({1, 22}, kNames, "diverged", run.checkpoint({1, 22}).value());
  ordered_json beyond = ordered_json::parse(lines()[1]);
  EXPECT_EQ(beyond["seed"], 21);
  EXPECT_EQ(beyond["plan_index"], 1);
  EXPECT_EQ(ordered_json::parse(lines()[4])["seed"], 22);
  const std::vector<std::string> before = lines();
  beyond["round"] = 2;
  append(beyond.dump() + "\n");  // of seed 21, of which only one round is complete

  const RunFolder again = RunFolder::open(folder_);
  EXPECT_EQ(again.rounds({1, 21}).size(), 1u);
  ASSERT_EQ(again.rounds({1, 22}).size(), 2u);
  EXPECT_TRUE(again.rounds(1).empty());
  EXPECT_TRUE(again.rounds({0, 21}).empty());
  EXPECT_FALSE(again.checkpoint({1, 23}).has_value() || again.checkpoint(1).has_value());
  EXPECT_EQ(again.rounds({1, 22})[0].loss, ordered_json::parse(before[2])["loss"]);
  options_.seed = 22;
  Trainer trainer(synthetic_.task, options_, {});
  trainer.restore(again.checkpoint({1, 22}).value());
  EXPECT_EQ(trainer.round(), 2u);
  // The checkpoint does not say that training has stopped: the line of it is of what is done again.
  EXPECT_EQ(lines(), std::vector<std::string>(before.begin(), before.begin() + 4));
}

TEST_F(RunFolderTest, ResultsAreNotOverwrittenUnasked) {
  begin();
  EXPECT_THROW(RunFolder::create(folder_, kHeader, false), Error);
  EXPECT_EQ(lines().size(), 3u);
  const RunFolder fresh = RunFolder::create(folder_, kHeader, true);
  EXPECT_EQ(lines().size(), 1u);
  EXPECT_FALSE(fresh.checkpoint(0).has_value());
}

TEST_F(RunFolderTest, WhatIsNoRunIsRefused) {
  EXPECT_THROW(RunFolder::open(folder_), Error);
  begin();
  const std::vector<std::string> good = lines();
  for (const std::string& text : {std::string(), std::string("{}\n"), good[1] + "\n", std::string("nonsense\n"),
                                  good[0] + "\n" + good[2] + "\n", good[0] + "\n" + good[1] + "\n",
                                  good[0] + "\nnonsense\n" + good[1] + "\n"}) {
    write(text);
    EXPECT_THROW(RunFolder::open(folder_), Error) << text;
  }
}

}  // namespace
}  // namespace fewbits::federated
