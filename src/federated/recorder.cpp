#include "federated/recorder.h"

#include <algorithm>
#include <cstdio>
#include <system_error>
#include <utility>

#include "fewbits/error.h"
#include "io/arrays.h"

namespace fewbits::federated {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kUsualRounds[] = {5, 20, 40};

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

std::string file_name(std::uint32_t round, std::uint32_t client) {
  char name[64];
  std::snprintf(name, sizeof name, "round%04u-client%04u.npz", round, client);
  return name;
}

std::vector<fs::path> recorded_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("round") && name.find("-client") != std::string::npos && name.ends_with(".npz")) {
      files.push_back(entry.path());
    }
  }
  return files;
}

}  // namespace

void Recorder::check(const RecordOptions& options, std::uint32_t run_rounds, Existing existing) {
  for (const std::uint32_t round : options.rounds) {
    if (round < 1 || round > run_rounds) {
      fail("record-rounds has " + std::to_string(round) + ", expected rounds of the run, 1 to " +
           std::to_string(run_rounds));
    }
  }
  if (options.clients < 1) fail("record-clients is 0, expected at least 1");
  std::error_code error;
  if (fs::exists(options.folder, error) && !fs::is_directory(options.folder, error)) {
    fail(options.folder.string() + " of --record is no folder");
  }
  if (existing == Existing::kRefuse && !recorded_files(options.folder).empty()) {
    fail(options.folder.string() + " has recorded updates already; give --force to replace them, or another --record");
  }
}

Recorder::Recorder(RecordOptions options, std::uint32_t run_rounds, Existing existing) : options_(std::move(options)) {
  check(options_, run_rounds, existing);
  std::vector<std::uint32_t>& rounds = options_.rounds;
  if (rounds.empty()) {
    std::copy_if(std::begin(kUsualRounds), std::end(kUsualRounds), std::back_inserter(rounds),
                 [&](std::uint32_t round) { return round <= run_rounds; });
    if (rounds.empty()) rounds.push_back(run_rounds);
  }
  std::sort(rounds.begin(), rounds.end());
  rounds.erase(std::unique(rounds.begin(), rounds.end()), rounds.end());

  std::error_code error;
  fs::create_directories(options_.folder, error);
  if (error) fail("cannot make the folder " + options_.folder.string() + " of --record: " + error.message());
  if (existing != Existing::kRemove) return;
  for (const fs::path& file : recorded_files(options_.folder)) {
    fs::remove(file, error);
    if (error) fail("cannot remove " + file.string() + ": " + error.message());
  }
}

void Recorder::check(const Codec& codec) {
  if (!codec.structured()) return;
  fail("updates of the plan '" + codec.plan() + "' cannot be recorded: its clients send free parameters, not tensors; "
       "let a plan without train= be the first");
}

void Recorder::watch(Trainer& trainer) const {
  check(trainer.codec());
  const Layout layout = trainer.codec().layout();
  trainer.observe(options_.clients, [this, layout](const ClientUpdate& update) {
    if (!std::binary_search(options_.rounds.begin(), options_.rounds.end(), update.round)) return;
    io::write_arrays(options_.folder / file_name(update.round, update.client), layout, update.values);
  });
}

std::string Recorder::describe() const {
  std::string rounds;
  for (const std::uint32_t round : options_.rounds) rounds += (rounds.empty() ? "" : ", ") + std::to_string(round);
  return "updates of at most " + std::to_string(options_.clients) + " clients in each of the rounds " + rounds +
         " go to " + options_.folder.string();
}

}  // namespace fewbits::federated
