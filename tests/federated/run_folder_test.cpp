#include "federated/run_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
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
      run.add_round(0, kNames, round, round.score, trainer.save_changes());
    }
  }

  fs::path folder_;
  SyntheticTask synthetic_;
  Options options_;
};

TEST_F(RunFolderTest, AReopenedRunHasItsRoundsAndCheckpoint) {
  begin();
  const std::vector<std::string> before = lines();
  RunFolder run = RunFolder::open(folder_);
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
  run.add_round(0, kNames, round, std::nullopt, trainer.save_changes());
  const RoundResult read = RunFolder::open(folder_).rounds(0)[0];
  EXPECT_TRUE(std::isnan(read.loss));
  EXPECT_FALSE(read.score.has_value());
}

// As after the end of a process between a line and its checkpoint.
TEST_F(RunFolderTest, RoundsWithoutACheckpointAreDoneAgain) {
  begin();
  ordered_json beyond = ordered_json::parse(lines()[2]);
  for (int round = 3; round <= 4; ++round) {
    beyond["round"] = round;
    append(beyond.dump() + "\n");
  }
  EXPECT_EQ(lines().size(), 5u);
  EXPECT_EQ(RunFolder::open(folder_).rounds(0).size(), 2u);
  EXPECT_EQ(lines().size(), 3u);
}

// What clients remember.
class RememberedTest : public RunFolderTest {
 protected:
  RememberedTest() { options_.rounds = 8; }
  Trainer trainer() const { return Trainer(synthetic_.task, options_, plan_); }
  std::map<std::string, fs::file_time_type> files() const {
    std::map<std::string, fs::file_time_type> result;
    if (!fs::exists(folder_ / "checkpoints/0-clients")) return result;
    for (const auto& entry : fs::directory_iterator(folder_ / "checkpoints/0-clients")) result[entry.path().filename()] = entry.last_write_time();
    return result;
  }
  void copy_checkpoints(const char* from, const char* to) const {
    fs::remove_all(folder_ / to);
    fs::copy(folder_ / from, folder_ / to, fs::copy_options::recursive);
  }
  const PlanOptions plan_{.plan = "mask:keep=0.2+f32", .feedback = Feedback::kEf14};
};

// A round writes the files of its cohort alone, and the checkpoint is that of the trainer, to the byte.
TEST_F(RememberedTest, ARoundWritesWhatItChanges) {
  RunFolder run = RunFolder::create(folder_, kHeader, false);
  Trainer trained = trainer();
  std::set<std::string> before;
  std::size_t most = 0;
  for (std::uint32_t i = 1; i <= 8; ++i) {
    const RoundResult round = trained.step().value();
    run.add_round(0, kNames, round, round.score, trained.save_changes());
    EXPECT_EQ(run.checkpoint(0), trained.save());
    EXPECT_EQ(CheckpointFiles(folder_ / "checkpoints", "0").read(), trained.save());
    std::set<std::string> clients;
    std::size_t fresh = 0;
    for (const auto& [name, time] : files()) {
      const bool of_this_round = name.ends_with("-" + std::to_string(i));
      EXPECT_TRUE(of_this_round || before.contains(name)) << name;
      EXPECT_TRUE(clients.insert(name.substr(0, name.find('-'))).second) << "two files of one client: " << name;
      fresh += of_this_round;
    }
    EXPECT_EQ(fresh, round.clients);
    before.clear();
    for (const auto& [name, time] : files()) before.insert(name);
    most = std::max(most, before.size());
  }
  EXPECT_GT(most, 5u);
  // A plan whose clients remember nothing has one file.
  options_.rounds = 4;
  fs::remove_all(folder_);
  begin();
  EXPECT_TRUE(files().empty());
}

// A restored trainer goes on with the files that are there.
TEST_F(RememberedTest, RoundsAfterARestartWriteNoMore) {
  std::vector<std::byte> last;
  RunFolder::create(folder_, kHeader, false);
  for (std::uint32_t i = 1; i <= 8; ++i) {
    RunFolder run = RunFolder::open(folder_);
    Trainer trained = trainer();
    if (const auto checkpoint = run.checkpoint(0)) trained.restore(*checkpoint);
    EXPECT_EQ(trained.round(), i - 1);
    const RoundResult round = trained.step().value();
    const Trainer::Changes changes = trained.save_changes();
    EXPECT_EQ(changes.clients.size(), round.clients);
    run.add_round(0, kNames, round, round.score, changes);
    last = trained.save();
  }
  Trainer unbroken = trainer();
  while (!unbroken.done()) unbroken.step();
  EXPECT_EQ(last, unbroken.save());
}

// Wherever the process ends within a checkpoint: with any of the files of the next one written, or half written, and any of
// the old ones removed after the new main file is there.
TEST_F(RememberedTest, AnUnfinishedCheckpointLeavesTheOneBefore) {
  RunFolder run = RunFolder::create(folder_, kHeader, false);
  Trainer trained = trainer();
  const auto round = [&] {
    const RoundResult result = trained.step().value();
    run.add_round(0, kNames, result, result.score, trained.save_changes());
  };
  for (int i = 0; i < 4; ++i) round();
  const auto old = trained.save();
  copy_checkpoints("checkpoints", "old");
  round();
  const auto fresh = trained.save();
  copy_checkpoints("checkpoints", "new");

  // Before the rename: both rounds' files, the old main file.
  copy_checkpoints("old", "checkpoints");
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "new/0-clients")) {
    if (!entry.path().filename().string().ends_with("-5")) continue;
    const fs::path to = folder_ / "checkpoints/0-clients" / entry.path().filename();
    fs::copy(entry.path(), to);
    if (++count == 2) fs::resize_file(to, 10);
  }
  EXPECT_GT(count, 1u);
  std::ofstream(folder_ / "checkpoints/0.bin.part") << "half";
  EXPECT_EQ(RunFolder::open(folder_).checkpoint(0), old);
  for (const auto& [name, time] : files()) EXPECT_FALSE(name.ends_with("-5")) << name << " was not removed";
  EXPECT_EQ(lines().size(), 5u);

  // Behind it: the new main file, and old files that are in nobody's way.
  copy_checkpoints("new", "checkpoints");
  fs::copy(folder_ / "old/0-clients", folder_ / "checkpoints/0-clients", fs::copy_options::recursive | fs::copy_options::skip_existing);
  const std::size_t all = files().size();
  EXPECT_EQ(CheckpointFiles(folder_ / "checkpoints", "0").read(), fresh);
  EXPECT_LT(files().size(), all);
}

TEST_F(RememberedTest, DamagedFilesAreRefused) {
  RunFolder run = RunFolder::create(folder_, kHeader, false);
  Trainer trained = trainer();
  const RoundResult round = trained.step().value();
  run.add_round(0, kNames, round, round.score, trained.save_changes());
  const fs::path client = folder_ / "checkpoints/0-clients" / files().begin()->first;
  copy_checkpoints("checkpoints", "good");
  const auto damage = [&](const fs::path& path, std::streamoff at) {
    copy_checkpoints("good", "checkpoints");
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char old = static_cast<char>(file.get());
    file.seekp(at);
    file.put(static_cast<char>(old ^ 4));
  };
  for (const std::streamoff at : {0, 20, 100, 300}) {
    damage(client, at);
    EXPECT_THROW(CheckpointFiles(folder_ / "checkpoints", "0").read(), Error) << at;
  }
  for (std::streamoff at = 0; at < static_cast<std::streamoff>(fs::file_size(folder_ / "good/0.bin")); at += 13) {
    damage(folder_ / "checkpoints/0.bin", at);
    EXPECT_THROW(CheckpointFiles(folder_ / "checkpoints", "0"), Error) << at;
    EXPECT_THROW(RunFolder::open(folder_), Error) << at;
  }
  copy_checkpoints("good", "checkpoints");
  fs::remove(client);
  EXPECT_THROW(CheckpointFiles(folder_ / "checkpoints", "0").read(), Error);
  copy_checkpoints("good", "checkpoints");
  fs::resize_file(folder_ / "checkpoints/0.bin", 0);
  EXPECT_THROW(RunFolder::open(folder_), Error);
}

TEST_F(RunFolderTest, ModelsThatWereNotFinishedAreRemoved) {
  begin();
  RunFolder run = RunFolder::open(folder_);
  const Trainer trainer(synthetic_.task, options_, {});
  run.write_model(0, trainer.layout(), trainer.released());
  std::ofstream(folder_ / "models/1.npz.tmp77") << "half";
  RunFolder::open(folder_);
  EXPECT_TRUE(fs::exists(folder_ / "models/0.npz"));
  EXPECT_FALSE(fs::exists(folder_ / "models/1.npz.tmp77"));
}

TEST_F(RunFolderTest, SeedsHaveRoundsAndCheckpointsOfTheirOwn) {
  RunFolder run = RunFolder::create(folder_, kHeader, false);
  for (const std::uint64_t seed : {21u, 22u}) {
    options_.seed = seed;
    Trainer trainer(synthetic_.task, options_, {});
    for (std::uint64_t i = 0; i < seed - 20; ++i) {
      const RoundResult round = trainer.step().value();
      run.add_round({1, seed}, kNames, round, round.score, trainer.save_changes());
    }
  }
  run.add_stop({1, 22}, kNames, "diverged", {.rest = run.checkpoint({1, 22}).value(), .clients = {}});
  ordered_json beyond = ordered_json::parse(lines()[1]);
  EXPECT_EQ(beyond["seed"], 21);
  EXPECT_EQ(beyond["plan_index"], 1);
  EXPECT_EQ(ordered_json::parse(lines()[4])["seed"], 22);
  const std::vector<std::string> before = lines();
  beyond["round"] = 2;
  append(beyond.dump() + "\n");  // of seed 21, of which only one round is complete

  RunFolder again = RunFolder::open(folder_);
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
  RunFolder fresh = RunFolder::create(folder_, kHeader, true);
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
