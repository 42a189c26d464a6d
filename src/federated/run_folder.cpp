#include "federated/run_folder.h"

#include <cmath>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

#include "federated/checkpoint.h"
#include "fewbits/error.h"
#include "io/arrays.h"

namespace fewbits::federated {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

ordered_json line_of(const char* type, const TrainingId& id, const ordered_json& names) {
  ordered_json line = {{"type", type}};
  line.update(names);
  if (id.seed) line["seed"] = *id.seed;
  line["plan_index"] = id.plan;
  return line;
}

ordered_json line_of(const TrainingId& id, const ordered_json& names, const RoundResult& round,
                     std::optional<double> smoothed) {
  ordered_json line = line_of("round", id, names);
  line["round"] = round.round;
  line["score"] = round.score ? ordered_json(*round.score) : ordered_json();
  line["smoothed_score"] = smoothed ? ordered_json(*smoothed) : ordered_json();
  line["loss"] = round.loss;
  if (round.epsilon) line["epsilon"] = *round.epsilon;
  if (round.clip) line["clip"] = *round.clip;
  line["upload_bytes"] = round.upload_bytes;
  line["wasted_bytes"] = round.wasted_bytes;
  line["download_bytes"] = round.download_bytes;
  line["frames"] = round.frames;
  line["simulated_seconds"] = round.simulated_seconds;
  line["asked"] = round.asked;
  line["clients"] = round.clients;
  line["examples"] = round.examples;
  line["seconds"] = round.seconds;
  line["train_seconds"] = round.train_seconds;
  line["encode_seconds"] = round.encode_seconds;
  line["decode_seconds"] = round.decode_seconds;
  return line;
}

RoundResult round_of(const json& line) {
  RoundResult round;
  round.round = line.at("round");
  if (!line.at("score").is_null()) round.score = line.at("score").get<double>();
  // JSON has no NaN; the writer makes it null.
  round.loss = line.at("loss").is_null() ? std::numeric_limits<double>::quiet_NaN() : line.at("loss").get<double>();
  if (line.contains("epsilon")) round.epsilon = line.at("epsilon").get<double>();
  if (line.contains("clip")) round.clip = line.at("clip").get<double>();
  round.upload_bytes = line.at("upload_bytes");
  round.wasted_bytes = line.at("wasted_bytes");
  round.download_bytes = line.at("download_bytes");
  round.frames = line.at("frames");
  round.simulated_seconds = line.at("simulated_seconds");
  round.asked = line.at("asked");
  round.clients = line.at("clients");
  round.examples = line.at("examples");
  round.seconds = line.at("seconds");
  round.train_seconds = line.at("train_seconds");
  round.encode_seconds = line.at("encode_seconds");
  round.decode_seconds = line.at("decode_seconds");
  return round;
}

// Labels and paths come from the caller: bytes that are no UTF-8 are replaced, not refused.
template <typename Json>
std::string text_of(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

void replace_text(const fs::path& path, const std::string& text) { replace_file(path, std::as_bytes(std::span(text))); }

// What a process that ended has left beside the models that it wrote.
void remove_unfinished(const fs::path& models) {
  std::error_code error, ignored;
  for (fs::directory_iterator entry(models, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().extension() != ".npz") fs::remove(entry->path(), ignored);
}

std::string file_name(const TrainingId& id) {
  return (id.seed ? "seed" + std::to_string(*id.seed) + "-" : "") + std::to_string(id.plan);
}

}  // namespace

bool RunFolder::has_run(const fs::path& folder) { return fs::exists(folder / "results.jsonl"); }

RunFolder RunFolder::create(const fs::path& folder, const ordered_json& header, bool force) {
  if (has_run(folder) && !force) {
    fail(folder.string() + " has results of another run; give --resume to go on with it, --force to replace it, or "
                           "another --out");
  }
  std::error_code error;
  for (const char* old : {"checkpoints", "models"}) fs::remove_all(folder / old, error);
  fs::remove(folder / "summary.json", error);
  fs::create_directories(folder / "checkpoints", error);
  if (error) fail("cannot make the folder " + (folder / "checkpoints").string() + ": " + error.message());
  RunFolder run(folder);
  run.header_ = header;
  replace_text(run.results_path(), text_of(header) + "\n");
  run.results_.open(run.results_path(), std::ios::app);
  return run;
}

RunFolder RunFolder::open(const fs::path& folder) {
  RunFolder run(folder);
  std::ifstream in(run.results_path());
  if (!in) fail("no run to resume in " + folder.string() + ": there is no results.jsonl");
  std::string text;
  if (!std::getline(in, text)) fail(run.results_path().string() + " is empty");
  run.header_ = ordered_json::parse(text, nullptr, false);
  if (!run.header_.is_object() || run.header_.value("type", "") != "run" || !run.header_.contains("settings")) {
    fail(run.results_path().string() + " does not begin with the settings of a run");
  }

  std::string kept = text + "\n";
  struct Saved {
    std::uint64_t round = 0;
    bool stopped = false;
  };
  std::map<TrainingId, Saved> saved;
  while (std::getline(in, text)) {
    const json line = json::parse(text, nullptr, false);
    if (line.is_discarded() && in.eof()) break;  // cut off in the middle of a write
    try {
      TrainingId id(line.at("plan_index"));
      if (line.contains("seed")) id.seed = line.at("seed").get<std::uint64_t>();
      if (!saved.contains(id)) {
        const Checkpoint state = run.files(id).read_rest().value_or(Checkpoint());
        saved[id] = {state.round, !state.stopped.empty()};
      }
      if (line.at("type") == "stopped") {
        if (saved[id].stopped) kept += text + "\n";
        continue;
      }
      RoundResult round = round_of(line);
      if (round.round > saved[id].round) continue;
      std::vector<RoundResult>& rounds = run.rounds_[id];
      if (round.round != rounds.size() + 1) fail("round " + std::to_string(round.round) + " is out of order");
      rounds.push_back(round);
      kept += text + "\n";
    } catch (const std::exception& error) {
      fail(run.results_path().string() + " cannot be resumed: " + error.what());
    }
  }
  for (const auto& [id, state] : saved) {
    if (run.rounds(id).size() != state.round) {
      fail(run.results_path().string() + " lacks rounds that " + (folder / "checkpoints" / file_name(id)).string() + ".bin has; start anew");
    }
  }
  in.close();
  remove_unfinished(folder / "models");
  replace_text(run.results_path(), kept);
  run.results_.open(run.results_path(), std::ios::app);
  return run;
}

const std::vector<RoundResult>& RunFolder::rounds(const TrainingId& id) const {
  static const std::vector<RoundResult> none;
  const auto found = rounds_.find(id);
  return found == rounds_.end() ? none : found->second;
}

CheckpointFiles& RunFolder::files(const TrainingId& id) {
  return files_.try_emplace(id, folder_ / "checkpoints", file_name(id)).first->second;
}

std::optional<std::vector<std::byte>> RunFolder::checkpoint(const TrainingId& id) { return files(id).read(); }

void RunFolder::add_round(const TrainingId& id, const ordered_json& names, const RoundResult& round,
                          std::optional<double> smoothed, const Trainer::Changes& changes) {
  append(line_of(id, names, round, smoothed));
  files(id).write(changes);
}

void RunFolder::add_stop(const TrainingId& id, const ordered_json& names, const std::string& reason,
                         const Trainer::Changes& changes) {
  ordered_json line = line_of("stopped", id, names);
  line["reason"] = reason;
  append(line);
  files(id).write(changes);
}

void RunFolder::write_model(const TrainingId& id, const Layout& layout, std::span<const float> parameters) {
  std::error_code error;
  fs::create_directories(folder_ / "models", error);
  if (error) fail("cannot make the folder " + (folder_ / "models").string() + ": " + error.message());
  io::write_arrays(folder_ / "models" / (file_name(id) + ".npz"), layout, parameters);
}

void RunFolder::write_summary(const ordered_json& summary) {
  replace_text(folder_ / "summary.json", text_of(summary, 2) + "\n");
}

void RunFolder::append(const ordered_json& line) {
  results_ << text_of(line) << '\n' << std::flush;
  if (!results_) fail("cannot write " + results_path().string());
}

}  // namespace fewbits::federated
