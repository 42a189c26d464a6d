#include "federated/recorder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "fewbits/error.h"
#include "io/arrays.h"
#include "synthetic_task.h"

namespace fewbits::federated {
namespace {

namespace fs = std::filesystem;
using Existing = Recorder::Existing;

class RecorderTest : public testing::Test {
 protected:
  RecorderTest() : folder_(fs::temp_directory_path() / ("fewbits_record_" + std::to_string(getpid()))) {
    fs::remove_all(folder_);
    options_.seed = 11;
    options_.rounds = 6;
    options_.clients_per_round = 5;
    options_.batch = 8;
  }
  ~RecorderTest() override { fs::remove_all(folder_); }

  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& entry : fs::directory_iterator(folder_)) result.push_back(entry.path().filename().string());
    std::sort(result.begin(), result.end());
    return result;
  }

  Recorder make(std::vector<std::uint32_t> rounds, std::size_t clients) const {
    return Recorder({.folder = folder_, .rounds = std::move(rounds), .clients = clients}, options_.rounds,
                    Existing::kRefuse);
  }

  std::string refusal(const RecordOptions& options, Existing existing = Existing::kRefuse) const {
    try {
      Recorder::check(options, options_.rounds, existing);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadArgument);
      return error.what();
    }
    return "accepted";
  }

  fs::path folder_;
  SyntheticTask synthetic_;
  Options options_;
};

// The server's step is the mean of what was recorded of all clients, by examples.
TEST_F(RecorderTest, TheRoundsMeanIsThatOfTheRecordedUpdates) {
  options_.clients_per_round = synthetic_.rows_of_each.size();
  const Recorder recorder = make({2}, 100);
  Trainer trainer(synthetic_.task, options_, {.plan = "f32"});
  recorder.watch(trainer);
  trainer.step();
  EXPECT_TRUE(names().empty());
  const std::vector<float> start(trainer.parameters().begin(), trainer.parameters().end());
  const std::size_t examples = trainer.step()->examples;
  std::vector<double> mean(start.size());
  std::size_t files = 0;
  for (std::size_t client = 0; client < synthetic_.rows_of_each.size(); ++client) {
    const std::size_t rows = synthetic_.rows_of_each[client].size();
    if (rows == 0) continue;
    const std::string id = std::to_string(client);
    const std::string name = "round0002-client" + std::string(4 - id.size(), '0') + id + ".npz";
    const io::Arrays arrays = io::read_arrays(folder_ / name);
    EXPECT_EQ(arrays.layout.text(), trainer.codec().layout().text());
    for (std::size_t i = 0; i < mean.size(); ++i) {
      mean[i] += arrays.values[i] * static_cast<double>(rows) / static_cast<double>(examples);
    }
    ++files;
  }
  EXPECT_EQ(names().size(), files);
  for (std::size_t i = 0; i < mean.size(); ++i) {
    // Rounding of float32 values below 4, twice.
    ASSERT_NEAR(trainer.parameters()[i], start[i] + mean[i], 1e-6) << i;
  }
}

TEST_F(RecorderTest, RecordsSoManyClientsOfTheRoundsAskedFor) {
  const Recorder recorder = make({5, 2, 5}, 2);
  Trainer trainer(synthetic_.task, options_, {.plan = "hadamard+quantize:bits=1"});
  recorder.watch(trainer);
  run(trainer, [](const RoundResult&) { return true; });
  const std::vector<std::string> files = names();
  ASSERT_EQ(files.size(), 4u);
  EXPECT_TRUE(files[0].starts_with("round0002-client") && files[1].starts_with("round0002-client"));
  EXPECT_TRUE(files[2].starts_with("round0005-client") && files[3].starts_with("round0005-client"));
}

TEST_F(RecorderTest, NeitherResultsNorFilesDependOnRecordingAndThreads) {
  std::vector<std::vector<std::byte>> bytes[2];
  std::vector<float> parameters[2];
  for (const std::size_t threads : {1, 2}) {
    options_.threads = threads;
    fs::remove_all(folder_);
    const Recorder recorder = make({1, 3, 6}, 3);
    Trainer trainer(synthetic_.task, options_, {.plan = "hadamard+quantize:bits=2"});
    recorder.watch(trainer);
    run(trainer, [](const RoundResult&) { return true; });
    EXPECT_EQ(names().size(), 9u);
    for (const std::string& name : names()) bytes[threads - 1].push_back(io::read_file(folder_ / name));
    parameters[threads - 1].assign(trainer.parameters().begin(), trainer.parameters().end());
  }
  EXPECT_EQ(bytes[0], bytes[1]);
  EXPECT_EQ(parameters[0], parameters[1]);
  Trainer unobserved(synthetic_.task, options_, {.plan = "hadamard+quantize:bits=2"});
  run(unobserved, [](const RoundResult&) { return true; });
  EXPECT_TRUE(std::equal(parameters[0].begin(), parameters[0].end(), unobserved.parameters().begin()));
}

TEST_F(RecorderTest, ARoundThatCannotBeRecordedIsNotDone) {
  const Recorder recorder = make({2}, 2);
  Trainer trainer(synthetic_.task, options_, {.plan = "f32"});
  recorder.watch(trainer);
  trainer.step();
  const std::vector<std::byte> before = trainer.save();
  fs::remove_all(folder_);
  EXPECT_THROW(trainer.step(), Error);
  EXPECT_EQ(trainer.save(), before);
  fs::create_directories(folder_);
  EXPECT_TRUE(trainer.step().has_value());
  EXPECT_EQ(names().size(), 2u);  // and nothing of the first attempt
}

TEST_F(RecorderTest, WithoutRoundsItTakesTheUsualOnesThatTheRunHas) {
  for (const auto& [rounds, expected] : {std::pair{3u, "rounds 3 go"}, std::pair{5u, "rounds 5 go"},
                                         std::pair{39u, "rounds 5, 20 go"}, std::pair{40u, "rounds 5, 20, 40 go"}}) {
    const Recorder recorder({.folder = folder_}, rounds, Existing::kRefuse);
    EXPECT_NE(recorder.describe().find(expected), std::string::npos) << recorder.describe();
  }
}

TEST_F(RecorderTest, RecordedUpdatesAreNotMixedUnasked) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "notes.txt") << "mine";
  std::ofstream(folder_ / "round.npz") << "mine";
  EXPECT_EQ(refusal({.folder = folder_}), "accepted");
  std::ofstream(folder_ / "round0001-client0002.npz") << "old";
  EXPECT_NE(refusal({.folder = folder_}).find("give --force to replace them"), std::string::npos);
  EXPECT_EQ(refusal({.folder = folder_}, Existing::kKeep), "accepted");
  EXPECT_EQ(refusal({.folder = folder_}, Existing::kRemove), "accepted");
  EXPECT_THROW(make({1}, 1), Error);
  EXPECT_EQ(names().size(), 3u);
  Recorder({.folder = folder_}, 6, Existing::kKeep);
  EXPECT_EQ(names().size(), 3u);
  Recorder({.folder = folder_}, 6, Existing::kRemove);
  EXPECT_EQ(names(), (std::vector<std::string>{"notes.txt", "round.npz"}));
}

TEST_F(RecorderTest, WhatDoesNotFitIsRefused) {
  const std::string late = refusal({.folder = folder_, .rounds = {3, 7}});
  EXPECT_NE(late.find("record-rounds has 7, expected rounds of the run, 1 to 6"), std::string::npos) << late;
  EXPECT_NE(refusal({.folder = folder_, .rounds = {0}}).find("has 0"), std::string::npos);
  EXPECT_NE(refusal({.folder = folder_, .clients = 0}).find("at least 1"), std::string::npos);
  std::ofstream(folder_.string()) << "a file";
  EXPECT_NE(refusal({.folder = folder_}).find("is no folder"), std::string::npos);
  fs::remove(folder_);
  const Recorder recorder = make({1}, 1);
  Trainer structured(synthetic_.task, options_, {.plan = "train=mask:keep=0.25 | f32"});
  EXPECT_THROW(recorder.watch(structured), Error);
}

}  // namespace
}  // namespace fewbits::federated
