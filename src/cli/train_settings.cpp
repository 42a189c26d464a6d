#include "cli/train_settings.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <set>
#include <sstream>

#include "cli/common.h"
#include "datasets/drawn.h"
#include "datasets/partition.h"
#include "fewbits/error.h"
#include "fewbits/federated/model.h"

namespace fewbits::cli {
namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

std::string value_text(const json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

// {"plan": "f32", "lr": 0.3} as "f32 @ lr=0.3".
std::string plan_text(const json& value, const std::string& source) {
  if (!value.is_object()) return value_text(value);
  if (!value.contains("plan")) fail(source + ": an object of 'plan' lacks the key 'plan'");
  std::string text = value_text(value["plan"]);
  const char* separator = " @ ";
  for (const auto& [key, own] : value.items()) {
    if (key == "plan") continue;
    text += separator + key + "=" + value_text(own);
    separator = ",";
  }
  return text;
}

// CLI11 2.1 reads comments only after plain values, and arrays of several lines only where the first has an element:
// here comments are taken out, and each array is put on one line.
std::string simplified_toml(std::istream& in) {
  std::string text;
  int depth = 0;
  for (std::string line; std::getline(in, line);) {
    char quote = 0;
    for (std::size_t i = 0; i < line.size(); ++i) {
      const char c = line[i];
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else if (c == '[') {
        ++depth;
      } else if (c == ']') {
        --depth;
      } else if (c == '#') {
        line.resize(i);
      }
    }
    text += line + (depth > 0 ? ' ' : '\n');
  }
  return text;
}

// The entry with a cohort of its own, named after it.
federated::PlanEntry with_cohort(federated::PlanEntry entry, std::size_t clients) {
  const std::string count = std::to_string(clients);
  entry.text += (entry.text.find('@') == std::string::npos ? " @ " : ",") + ("clients-per-round=" + count);
  entry.label += ", " + count + " a round";
  entry.clients_per_round = clients;
  return entry;
}

template <typename List>
std::string forms(const List& list) {
  std::string text;
  for (const auto& entry : list) text += "\n  " + entry.form + ": " + entry.summary;
  return text;
}

}  // namespace

void TrainSettings::add_to(CLI::App& command) {
  command.add_option("--dataset", data_options.dataset,
                     "fashion-mnist; kjv[:users=chapters|books,books=1-39] (the King James Bible) or fortunes, texts; insteval, a "
                     "regression (after `make insteval`); or the name of a folder in $FEWBITS_DATA or of --data")->capture_default_str();
  command.add_option("--data", data_options.data, "folder of the data set: four IDX files of images, train.csv and test.csv (or .npz), or "
                     "*.txt, one a user");
  command.add_option("--model", data_options.model, "one of:" + forms(federated::models()))->capture_default_str();
  command.add_option("--tokens", data_options.tokens, "of texts: characters or words")->capture_default_str();
  command.add_option("--words", data_options.words, "words that have a number of their own, the most frequent ones")
      ->capture_default_str()->check(whole_number());
  command.add_option("--context", data_options.context, "tokens of an example; 0: windows of 16, sequences of 80")
      ->capture_default_str()->check(whole_number());
  command.add_option("--partition", data_options.partition, "how examples are dealt to clients; auto: natural for data that has users, "
                     "else dirichlet-client:alpha=3. One of:\n  natural: each user is a client" +
                     forms(datasets::partition_schemes()) + "\n  " + datasets::kDrawnForm + ": " + datasets::kDrawnSummary)
      ->capture_default_str();
  command.add_option("--clients", data_options.clients, "number of clients, where they are not users of the data")
      ->capture_default_str()->check(whole_number());
  command.add_option("--clients-per-round", clients_per_round, "drawn without replacement; several, as 1,10,100: each plan with each")
      ->delimiter(',')->allow_extra_args(false)->capture_default_str()->check(whole_number());
  command.add_option("--client-probability", options.client_probability,
                     "instead: chance of each client to take part in a round");
  command.add_option("--rounds", options.rounds, "rounds of federated averaging")->capture_default_str();
  command.add_option("--epochs", options.epochs, "local epochs of a client")->capture_default_str();
  command.add_option("--batch", options.batch, "examples a step")->capture_default_str();
  command.add_option("--lr", plan_defaults.learning_rate, "learning rate of the clients")->capture_default_str();
  command.add_option("--lr-decay", plan_defaults.learning_rate_decay, "its factor from round to round")->capture_default_str();
  command.add_option("--server-lr", plan_defaults.server_learning_rate, "learning rate of the server")->capture_default_str();
  command.add_option("--server-momentum", plan_defaults.server_momentum, "momentum of the server, 0 to 1; of adam the mean's, 0.9")
      ->capture_default_str();
  command.add_option("--server", server, "the server's optimizer: sgd, or adam (FedAdam, Reddi et al. 2020; --server-lr 0.01 or so)")
      ->capture_default_str();
  command.add_option("--server-beta2", plan_defaults.server_beta2, "of adam: of the mean of squares, 0 to 1")->capture_default_str();
  command.add_option("--server-tau", plan_defaults.server_tau, "of adam: added to their root")->capture_default_str();
  command.add_option("--average", plan_defaults.average, "over 0: an average of the models is evaluated, in which a round weighs so much "
                     "less than the next, as 0.9")->capture_default_str();
  command.add_option("--downlink", plan_defaults.downlink, "plan of the models that go down, which are then sent as compressed differences "
                     "with error feedback at the server (EF21-P); none given: whole, as float32");
  command.add_option("--clip", clip, "L2 norm to which each client's update is clipped, by it and, decoded, by the server; needed for privacy")
      ->check(CLI::PositiveNumber);
  command.add_option("--clip-by", clip_by, "whole: of the update; tensor: each tensor's share of it; median: of the update, the norm follows "
                     "the median of the clients', beginning with --clip")->capture_default_str()->check(CLI::IsMember({"whole", "tensor", "median"}));
  command.add_option("--epsilon", privacy.epsilon, "differential privacy of users: the budget of all rounds, from which the noise follows; with "
                     "--client-probability and --delta. Training ends before the round that would exceed it")->check(CLI::PositiveNumber);
  command.add_option("--delta", privacy.delta, "of the budget: less than 1 in the number of clients")->check(CLI::Range(0.0, 1.0));
  command.add_option("--noise-multiplier", privacy.noise_multiplier, "instead of --epsilon: standard deviation of the sum's noise, over the clip")
      ->check(CLI::PositiveNumber);
  command.add_option("--examples-cap", privacy.examples_cap, "with --clip: clients weigh min(examples/CAP, 1); 0: all the same")
      ->capture_default_str();
  command.add_option("--noise-by", noise_by, "server: it adds the noise to the sum; clients: each adds its part, so that with --secure nobody sees "
                     "a sum without noise")->capture_default_str()->check(CLI::IsMember({"server", "clients"}));
  command.add_flag("--secure", secure, "secure aggregation: the server learns the sum of a round's updates and none of them. Plans are linear in "
                   "integers, as 'hadamard+dither:scale=flat,step=auto' with --clip");
  command.add_option("--secure-bits", secure_options.bits, "of a masked word: what a client uploads for each value")
      ->capture_default_str()->check(CLI::Range(1, 32));
  command.add_option("--min-cohort", secure_options.min_cohort, "a secure sum of fewer clients is not opened; at least 3")->capture_default_str();
  command.add_option("--transcript", secure_options.transcript, "with --secure: folder for all that the server sees, message by message");
  command.add_option("--links", links, "a simulated network, as 'up=1,lost=0.1,deadline=60': results gain hours and wasted bytes. "
                     "Any of these, or 'usual' for the first values:" + forms(federated::link_options()));
  command.add_option("--stream", options.stream, "over 0: clients see so many examples in each round that they take part in, in their "
                     "order, and never again")->capture_default_str()->check(whole_number());
  command.add_option("--pretrained", pretrained, ".npz of a model to begin with, as a run with --out writes them (models/)");
  command.add_option("--fine-tune", fine_tune, "after training, clients train the model further on their examples, for so many epochs: "
                     "scores on what they hold out, before and after")->check(whole_number());
  command.add_option("--personal", data_options.personal, "values of an input vector that each client trains and keeps; scores as with "
                     "--fine-tune")->capture_default_str()->check(whole_number());
  command.add_option("--personal-rate", options.personal_rate, "their learning rate, in units of the clients'")->capture_default_str();
  command.add_option("--held-out", data_options.held_out, "share of a client's examples that it holds out to test its own model; 0: 0.2 "
                     "where that is needed and the data has no tests of its users")->capture_default_str();
  command.add_option("--prox", plan_defaults.prox, "FedProx (Li et al. 2018): clients stay near the round's model by this mu; 0: none")
      ->capture_default_str();
  command.add_option("--plan", plans, "how updates are coded; once for each plan. 'PLAN @ lr=0.3,feedback=ef14,label=NAME' "
                     "gives a plan options of its own; bits=auto in a plan is, with links and a deadline, what each client's link can carry until then:" + forms(federated::plan_entry_options()))
      ->allow_extra_args(false)->capture_default_str();
  command.add_option("--target", target, "score to reach (of classifiers an accuracy, 0 to 1), or none; auto: 98 % of the best of plan f32")
      ->capture_default_str();
  command.add_option("--seed", options.seed, "decides everything that is drawn")->capture_default_str();
  command.add_option("--seeds", seeds, "repeats the comparison with so many seeds: seed, seed + 1, ...; the summary then "
                     "has mean and spread, and medians of the ratios to the first plan with the same seed")
      ->capture_default_str()->check(whole_number());
  command.add_option("--eval-every", options.eval_every, "rounds between evaluations")->capture_default_str();
  command.add_option("--eval-examples", options.eval_examples, "on so many test examples, spread evenly; 0: on all")
      ->capture_default_str()->check(whole_number());
  command.add_option("--threads", options.threads, "0: all cores; results do not depend on it")->capture_default_str();
  command.add_option("--config", config, "file of these settings, by the names of the flags: TOML, or JSON (*.json); "
                     "flags given beside it win");
  command.add_option("--out", out, "folder for results.jsonl, summary.json and checkpoints; none: only the table");
  command.add_option("--record", record, "folder for updates of the first plan's clients as they are before coding "
                     "(let it be f32), with the first seed: .npz files with an array a tensor, for fewbits measure");
  command.add_option("--record-rounds", record_options.rounds, "rounds to record, as 5,20,40; none given: those three, "
                     "as far as the run has them")
      ->delimiter(',')->allow_extra_args(false)->check(whole_number());
  command.add_option("--record-clients", record_options.clients, "clients to record in such a round, at most")
      ->capture_default_str()->check(whole_number());
  command.add_flag("--resume", resume, "go on with the run in --out, with its settings");
  command.add_flag("--force", force, "replace the results in --out, and recorded updates");
  command.add_flag("--quiet", quiet, "no progress");
  command.add_flag("--json", json, "print the summary as JSON instead of the table");
}

std::optional<federated::PrivacyOptions> TrainSettings::privacy_options() const {
  if (!clip) {
    const nlohmann::json given = to_json(), defaults = TrainSettings().to_json();
    for (const char* key : {"clip-by", "epsilon", "delta", "noise-multiplier", "examples-cap", "noise-by"})
      if (given.at(key) != defaults.at(key)) fail("--" + std::string(key) + " needs --clip, the norm to which updates are clipped");
    return std::nullopt;
  }
  federated::PrivacyOptions all = privacy;
  all.clip = *clip;
  all.per_tensor = clip_by == "tensor";
  all.adaptive = clip_by == "median";
  all.noise_by_clients = noise_by == "clients";
  return all;
}

json TrainSettings::to_json() const {
  return {{"dataset", data_options.dataset},
          {"data", data_options.data},
          {"model", data_options.model},
          {"tokens", data_options.tokens},
          {"words", data_options.words},
          {"context", data_options.context},
          {"partition", data_options.partition},
          {"clients", data_options.clients},
          {"clients-per-round", clients_per_round},
          {"downlink", plan_defaults.downlink},
          {"clip", clip ? nlohmann::json(*clip) : nlohmann::json()},
          {"clip-by", clip_by},
          {"epsilon", privacy.epsilon ? nlohmann::json(*privacy.epsilon) : nlohmann::json()},
          {"delta", privacy.delta},
          {"noise-multiplier", privacy.noise_multiplier},
          {"examples-cap", privacy.examples_cap},
          {"noise-by", noise_by},
          {"secure", secure},
          {"secure-bits", secure_options.bits},
          {"min-cohort", secure_options.min_cohort},
          {"transcript", secure_options.transcript},
          {"links", links},
          {"stream", options.stream},
          {"pretrained", pretrained},
          {"fine-tune", fine_tune ? nlohmann::json(*fine_tune) : nlohmann::json()},
          {"personal", data_options.personal},
          {"personal-rate", options.personal_rate},
          {"held-out", data_options.held_out},
          {"eval-examples", options.eval_examples},
          {"client-probability", options.client_probability ? nlohmann::json(*options.client_probability) : nlohmann::json()},
          {"rounds", options.rounds},
          {"epochs", options.epochs},
          {"batch", options.batch},
          {"lr", plan_defaults.learning_rate},
          {"lr-decay", plan_defaults.learning_rate_decay},
          {"server-lr", plan_defaults.server_learning_rate},
          {"server-momentum", plan_defaults.server_momentum},
          {"server", server},
          {"server-beta2", plan_defaults.server_beta2},
          {"server-tau", plan_defaults.server_tau},
          {"average", plan_defaults.average},
          {"prox", plan_defaults.prox},
          {"plan", plans},
          {"target", target},
          {"seed", options.seed},
          {"seeds", seeds},
          {"eval-every", options.eval_every},
          {"record", record.empty() ? nlohmann::json() : nlohmann::json(record)},
          {"record-rounds", record_options.rounds},
          {"record-clients", record_options.clients}};
}

json TrainSettings::recorded() const {
  nlohmann::json settings = to_json();
  if (seeds == 1) settings.erase("seeds");
  if (record.empty() || record_options.rounds.empty()) settings.erase("record-rounds");
  if (record.empty()) settings.erase("record");
  if (record.empty()) settings.erase("record-clients");
  const nlohmann::json defaults = TrainSettings().to_json();
  for (const char* key : {"server", "server-beta2", "server-tau", "average", "prox", "tokens", "words", "context", "downlink", "links",
                          "clip", "clip-by", "epsilon", "delta", "noise-multiplier", "examples-cap", "noise-by", "secure",
                          "secure-bits", "min-cohort", "transcript",
                          "stream", "pretrained", "fine-tune", "personal", "personal-rate", "held-out", "eval-examples"})
    if (settings[key] == defaults[key]) settings.erase(key);
  return settings;
}

std::vector<federated::PlanEntry> TrainSettings::plan_entries() const {
  std::vector<federated::PlanEntry> entries;
  std::set<std::string> seen;
  federated::PlanOptions defaults = plan_defaults;
  defaults.server = federated::server_optimizer(server);
  for (const std::string& text : plans) {
    const federated::PlanEntry entry = federated::parse_plan_entry(text, defaults);
    if (!seen.insert(entry.text).second) fail("plan '" + entry.text + "' is given twice");
    if (entry.clients_per_round || clients_per_round.size() == 1) {
      entries.push_back(entry);
      continue;
    }
    for (const std::size_t count : clients_per_round) entries.push_back(with_cohort(entry, count));
  }
  return entries;
}

std::vector<SettingItem> items_of(const json& settings, const std::string& source) {
  if (!settings.is_object()) fail(source + ": expected one JSON object with the names of the flags as keys");
  std::vector<SettingItem> items;
  for (const auto& [key, value] : settings.items()) {
    if (value.is_null()) continue;
    SettingItem item{key, {}};
    if (value.is_array()) {
      for (const nlohmann::json& element : value) item.values.push_back(plan_text(element, source));
    } else {
      item.values.push_back(plan_text(value, source));
    }
    items.push_back(std::move(item));
  }
  return items;
}

std::vector<SettingItem> read_config(const std::string& path) {
  std::ifstream in(path);
  if (!in) fail("cannot read the file " + path + " of --config");
  if (path.ends_with(".json")) {
    try {
      return items_of(json::parse(in), path);
    } catch (const json::exception& error) {
      fail(path + ": " + error.what());
    }
  }
  std::istringstream text(simplified_toml(in));
  std::vector<SettingItem> items;
  for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(text)) {
    if (!item.parents.empty()) fail(path + ": sections are not known; write the names of the flags as keys at the top");
    SettingItem own{item.name, {}};
    for (const std::string& value : item.inputs) {
      if (!value.empty()) own.values.push_back(value);
    }
    items.push_back(std::move(own));
  }
  return items;
}

void apply_items(CLI::App& command, const std::vector<SettingItem>& items, const std::string& source) {
  for (const SettingItem& item : items) {
    CLI::Option* option = command.get_option_no_throw("--" + item.key);
    if (option == nullptr || item.key == "config" || item.key == "help") {
      std::string known;
      for (const CLI::Option* other : command.get_options()) {
        const std::string name = other->get_name().substr(2);
        if (name != "config" && name != "help") known += (known.empty() ? "" : ", ") + name;
      }
      fail(source + ": there is no setting '" + item.key + "'; there are: " + known);
    }
    if (option->count() > 0) continue;
    try {
      for (const std::string& value : item.values) option->add_result(value);
      option->run_callback();
    } catch (const CLI::Error& error) {
      fail(source + ": '" + item.key + "' is " + (item.values.empty() ? "empty" : "'" + item.values[0] + "'") + ": " +
           error.what());
    }
  }
}

}  // namespace fewbits::cli
