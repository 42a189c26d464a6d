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
//   checkpoints/<i>.bin         of plan i, replaced after each of its rounds, or after some where it is large
//   checkpoints/seed<s>-<i>.bin where there are several seeds
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
  std::optional<std::vector<std::byte>> checkpoint(const TrainingId& id) const;

  // Whether the next round of `id` should come with a checkpoint: where clients remember much it has many
  // megabytes, and is written after every few rounds.
  bool checkpoint_is_due(const TrainingId& id) const noexcept;

  // A finished round, and the trainer's state after it; none where it is not kept. `names` are fields to put first in the
  // line.
  void add_round(const TrainingId& id, const nlohmann::ordered_json& names, const RoundResult& round,
                 std::optional<double> smoothed, const std::optional<std::vector<std::byte>>& checkpoint);
  // Training has diverged after the last round.
  void add_stop(const TrainingId& id, const nlohmann::ordered_json& names, const std::string& reason,
                std::span<const std::byte> checkpoint);

  // models/<plan>.npz, with the seed in front where there are several: an array for each tensor.
  void write_model(const TrainingId& id, const Layout& layout, std::span<const float> parameters);

  void write_summary(const nlohmann::ordered_json& summary);

 private:
  explicit RunFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  void append(const nlohmann::ordered_json& line);
  void replace(const std::filesystem::path& path, std::string_view bytes) const;
  std::filesystem::path checkpoint_path(const TrainingId& id) const;
  std::filesystem::path results_path() const { return folder_ / "results.jsonl"; }

  std::filesystem::path folder_;
  nlohmann::ordered_json header_;
  std::map<TrainingId, std::vector<RoundResult>> rounds_;
  struct Pace {
    std::size_t bytes = 0;    // of the last checkpoint
    std::size_t rounds = 0;   // since it
  };
  std::map<TrainingId, Pace> paces_;
  std::ofstream results_;
};

}  // namespace fewbits::federated
