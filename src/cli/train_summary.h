#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/train_settings.h"
#include "federated/plan_entry.h"
#include "fewbits/federated/federated.h"

namespace fewbits::cli {

// One plan of a comparison, and what came of it.
struct PlanRun {
  federated::PlanEntry entry;
  std::string canonical;
  std::optional<double> noise_multiplier;   // with privacy
  std::vector<federated::RoundResult> rounds;
  std::string stopped;
  std::vector<federated::PersonalResult> personal;   // of clients that hold examples out; none where that is not asked for
};

// All plans with one seed.
struct SeedRun {
  std::uint64_t seed = 0;
  std::vector<PlanRun> plans;
};

// What summaries are made of, but for the runs.
struct SummaryTerms {
  const TrainSettings& settings;
  std::string dataset = {};
  std::string partition = {};
  std::size_t clients = 0;
  std::size_t parameters = 0;                         // of the model
  federated::Metric metric = {};
  std::optional<double> target = std::nullopt;        // score; not of an automatic one
  bool target_is_automatic = false;                   // a share of what the plan `float32` reaches at best, seed by seed
  std::optional<std::size_t> float32 = std::nullopt;  // the plan that others are compared with
};

// summary.json: of one seed that seed's, of several the spread over them and each one's.
nlohmann::ordered_json summary_of(const SummaryTerms& terms, std::span<const SeedRun> runs);

// The plans of a summary, side by side.
std::string table_of(const nlohmann::ordered_json& summary);

}  // namespace fewbits::cli
