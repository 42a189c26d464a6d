#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "federated/plan_entry.h"
#include "federated/recorder.h"
#include "federated/task_data.h"
#include "fewbits/federated/federated.h"

namespace fewbits::cli {

// The flags of `fewbits train`. Those in to_json() are compared when a run is resumed. The defaults are the setting of
// the demo.
struct TrainSettings {
  federated::DataOptions data_options;
  federated::Options options;
  std::vector<std::size_t> clients_per_round = {10};
  federated::PrivacyOptions privacy;    // of Options, where --clip is given
  std::optional<double> clip;
  std::string noise_by = "server";
  bool secure = false;
  federated::SecureOptions secure_options;
  std::string clip_by = "whole";
  std::string links;                    // "": none; as --links gives them
  std::string pretrained;
  std::optional<std::size_t> fine_tune; // epochs; personalization is reported when it, or an input vector, is there
  federated::PlanOptions plan_defaults;
  std::string server = "sgd";
  std::string record;
  federated::RecordOptions record_options;
  std::vector<std::string> plans = {"f32", "hadamard+quantize:bits=1", "hadamard+mask:keep=0.0625+quantize:bits=2"};
  std::string target = "auto";
  std::uint64_t seeds = 1;

  std::string config;
  std::string out;
  bool resume = false;
  bool force = false;
  bool quiet = false;
  bool json = false;

  void add_to(CLI::App& command);
  bool personalizes() const noexcept { return fine_tune.has_value() || data_options.personal > 0; }
  std::optional<federated::PrivacyOptions> privacy_options() const;   // throws kBadArgument for flags that need --clip
  nlohmann::json to_json() const;
  nlohmann::json recorded() const;  // what a run's folder keeps of them: none that are not used
  std::vector<federated::PlanEntry> plan_entries() const;
};

// A setting from a file: the name of a flag, and its values as they would stand on the command line.
struct SettingItem {
  std::string key;
  std::vector<std::string> values;
};

// Settings of a file: JSON where its name ends in .json, else TOML.
std::vector<SettingItem> read_config(const std::string& path);
std::vector<SettingItem> items_of(const nlohmann::json& settings, const std::string& source);

// Gives each flag that was not set its value. Throws kBadArgument for a name that is no flag, or a value that is none.
void apply_items(CLI::App& command, const std::vector<SettingItem>& items, const std::string& source);

}  // namespace fewbits::cli
