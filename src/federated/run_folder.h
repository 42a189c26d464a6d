#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "federated/checkpoint_files.h"
#include "fewbits/federated/federated.h"

namespace fewbits::federated {

// One training of a run: a plan, by its place, and the seed where the run has several.
struct TrainingId {
  TrainingId(std::size_t plan_index, std::optional<std::uint64_t> its_seed = std::nullopt)  // NOLINT: a plan is enough
      : plan(plan_index), seed(its_seed) {}

  std::size_t plan;
  std::optional<std::uint64_t> seed;

  friend auto operator<=>(const TrainingId&, const TrainingId&) = default;
};

// The folder of a run:
//   results.jsonl               first what is run ("type": "run"), then a line a round and training
//   checkpoints/<i>.bin         of plan i, replaced after each of its rounds; where clients remember something, with a
//                               folder <i>-clients (CheckpointFiles)
//   checkpoints/seed<s>-<i>.bin where there are several seeds
//   models/<i>.npz              what comes of a training
//   summary.json                written at the end
// A round's line is written before its checkpoint, so lines beyond a checkpoint are of rounds that are done again.
class RunFolder {
 public:
  // Begins a run. Throws kBadArgument when the folder has results already, unless `force` says to remove them.
  static RunFolder create(const std::filesystem::path& folder, const nlohmann::ordered_json& header, bool force);

  // Goes on with a run. Throws kBadArgument when there is none, or its files do not fit together.
  static RunFolder open(const std::filesystem::path& folder);
  static bool has_run(const std::filesystem::path& folder);

  const nlohmann::ordered_json& header() const noexcept { return header_; }

  // The rounds that are complete, and the checkpoint after the last of them.
  const std::vector<RoundResult>& rounds(const TrainingId& id) const;
  std::optional<std::vector<std::byte>> checkpoint(const TrainingId& id);

  // A finished round, and what it has changed in the trainer's state. `names` are fields to put first in the line.
  void add_round(const TrainingId& id, const nlohmann::ordered_json& names, const RoundResult& round,
                 std::optional<double> smoothed, const Trainer::Changes& changes);
  // Training has diverged after the last round.
  void add_stop(const TrainingId& id, const nlohmann::ordered_json& names, const std::string& reason,
                const Trainer::Changes& changes);

  // models/<plan>.npz, with the seed in front where there are several: an array for each tensor.
  void write_model(const TrainingId& id, const Layout& layout, std::span<const float> parameters);

  void write_summary(const nlohmann::ordered_json& summary);

 private:
  explicit RunFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  void append(const nlohmann::ordered_json& line);
  CheckpointFiles& files(const TrainingId& id);
  std::filesystem::path results_path() const { return folder_ / "results.jsonl"; }

  std::filesystem::path folder_;
  nlohmann::ordered_json header_;
  std::map<TrainingId, std::vector<RoundResult>> rounds_;
  std::map<TrainingId, CheckpointFiles> files_;
  std::ofstream results_;
};

}  // namespace fewbits::federated
