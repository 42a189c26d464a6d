#include "cli/train.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "cli/train_report.h"
#include "cli/train_settings.h"
#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "federated/plan_entry.h"
#include "federated/recorder.h"
#include "federated/run_folder.h"
#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "fewbits/version.h"

namespace fewbits::cli {
namespace {

using federated::PlanEntry;
using federated::Recorder;
using federated::RoundResult;
using federated::RunFolder;
using federated::Trainer;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr int kInterrupted = 130;
constexpr double kTargetShare = 0.98;

constexpr const char* kExamples = R"(Examples:
  fewbits train --out out/run
      the demo's setting: 100 clients, 10 a round, 200 rounds, three plans
  fewbits train --plan f32 --plan 'hadamard+quantize:bits=2' --rounds 50 --target 0.8
  fewbits train --plan f32 --plan 'train=mask:keep=0.0625 | quantize:bits=4 @ lr=0.8,label=masked'
  fewbits train --plan f32 --plan 'mask:keep=0.01+f32 @ feedback=ef14,label=random 1 % with error feedback'
  fewbits train --model softmax --partition shards:per=2 --lr 0.05 --out out/shards
  fewbits train --plan f32 --rounds 40 --target none --record out/updates
      and then: fewbits measure --plan 'hadamard+quantize:bits=2' out/updates/round0020-client0012.npz
  fewbits train --config demo.toml --out out/demo
  fewbits train --out out/demo --resume
      goes on after an interruption, with the settings of the run)";

volatile std::sig_atomic_t interrupted = 0;

// The first Ctrl-C ends the run after its round, the second at once.
class InterruptGuard {
 public:
  InterruptGuard() {
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupted = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, &old_interrupt_);
    sigaction(SIGTERM, &action, &old_terminate_);
  }
  ~InterruptGuard() {
    sigaction(SIGINT, &old_interrupt_, nullptr);
    sigaction(SIGTERM, &old_terminate_, nullptr);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction old_interrupt_ = {};
  struct sigaction old_terminate_ = {};
};

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

std::string shell_quoted(const std::string& text) {
  if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,") == std::string::npos) {
    return text;
  }
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

// nullopt: from the plan f32.
std::optional<double> parse_target(const std::string& text, bool& automatic) {
  automatic = text == "auto";
  if (automatic || text == "none" || text == "null") return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0 && value <= 1)) {
    fail("target is '" + text + "', expected an accuracy over 0 and at most 1, or none, or auto");
  }
  return value;
}

// Takes the settings of the run that is resumed; those given now must be the same.
void adopt(CLI::App& command, TrainSettings& settings, const json& recorded) {
  const json given = settings.to_json();
  for (const auto& [key, value] : recorded.items()) {
    const CLI::Option* option = command.get_option_no_throw("--" + key);
    if (option != nullptr && option->count() > 0 && given.contains(key) && given[key] != value) {
      fail("cannot resume: " + key + " is " + given[key].dump() + ", the run in " + settings.out + " has " + value.dump() +
           "; leave it out, or begin a run with another --out");
    }
  }
  for (const auto& [key, value] : given.items()) {
    if (recorded.contains(key) || command.get_option("--" + key)->count() == 0) continue;
    fail("cannot resume: " + key + " is " + value.dump() + ", the run in " + settings.out + " was begun without; " +
         "leave it out, or begin a run with another --out");
  }
  apply_items(command, items_of(recorded, settings.out + "/results.jsonl"), settings.out + "/results.jsonl");
}

json data_record(const datasets::Dataset& dataset) {
  json files = json::array();
  for (const datasets::SourceFile& file : dataset.files) files.push_back({{"path", file.path}, {"sha256", file.sha256}});
  return {{"name", dataset.name}, {"folder", dataset.folder}, {"files", files}};
}

void require_same_data(const json& now, const json& recorded) {
  for (std::size_t i = 0; i < now.at("files").size(); ++i) {
    const json& file = now["files"][i];
    if (file["sha256"] != recorded.at("files").at(i).at("sha256")) {
      fail("cannot resume: data is not the run's: " + file["path"].get<std::string>() + " has SHA-256 " +
           file["sha256"].get<std::string>() + ", the run had " + recorded["files"][i]["sha256"].get<std::string>());
    }
  }
}

// One plan of the comparison, and what came of it.
struct PlanRun {
  PlanEntry entry;
  std::string canonical;
  std::vector<RoundResult> rounds;
  std::string stopped;
};

class TrainCommand {
 public:
  TrainCommand(CLI::App& command, TrainSettings& settings) : command_(command), settings_(settings) {}

  int run() {
    prepare();
    Progress progress(settings_.quiet || settings_.json, settings_.options.rounds * plans_.size());
    progress.say(dataset_.name + " from " + dataset_.folder + "; " +
                 datasets::describe_partition(settings_.partition, task_.clients, dataset_.train.y, dataset_.classes));
    if (recorder_) progress.say(recorder_->describe());
    const InterruptGuard guard;
    for (std::size_t i = 0; i < plans_.size(); ++i) {
      train(i, progress);
      if (interrupted != 0) return report_interruption();
    }
    const ordered_json summary = summarize();
    if (folder_) folder_->write_summary(summary);
    std::fputs((settings_.json ? summary.dump(2) + "\n" : table_of(summary)).c_str(), stdout);
    return 0;
  }

 private:
  void prepare() {
    if (!settings_.config.empty()) apply_items(command_, read_config(settings_.config), settings_.config);
    if (settings_.resume && settings_.out.empty()) fail("--resume needs --out, the folder of the run to go on with");
    if (settings_.resume && settings_.force) fail("--resume and --force exclude each other");
    if (settings_.resume) {
      folder_ = RunFolder::open(settings_.out);
      adopt(command_, settings_, json(folder_->header().at("settings")));
    } else if (!settings_.out.empty() && !settings_.force && RunFolder::has_run(settings_.out)) {
      fail(settings_.out + " has results of another run; give --resume to go on with it, --force to replace it, or " +
           "another --out");
    }

    // All that can be wrong with the settings is found before the data is read.
    target_ = parse_target(settings_.target, target_is_automatic_);
    datasets::check_partition(settings_.partition);
    federated::check_model(settings_.model);
    check_recording();
    for (PlanEntry& entry : settings_.plan_entries()) plans_.emplace_back().entry = std::move(entry);

    dataset_ = datasets::load_images(settings_.dataset, settings_.data);
    task_.model = federated::model_factory(settings_.model, dataset_.features, dataset_.classes);
    task_.train = {dataset_.train.x, dataset_.train.y};
    task_.test = {dataset_.test.x, dataset_.test.y};
    task_.clients = datasets::make_partition(settings_.partition, dataset_.train.y, dataset_.classes, settings_.clients,
                                             settings_.options.seed);
    const Layout layout = task_.model()->layout();
    parameters_ = layout.elements();
    const std::string float32 = Codec::compile("f32", layout).plan();
    for (std::size_t i = 0; i < plans_.size(); ++i) {
      const Trainer trainer(task_, settings_.options, plans_[i].entry.options);  // throws for what does not fit
      plans_[i].canonical = trainer.codec().plan();
      if (i == 0 && !settings_.record.empty()) Recorder::check(trainer.codec());
      if (plans_[i].canonical != float32) continue;
      // One with options of its own is compared with the others, unless it is the only one.
      const bool plain = plans_[i].entry.text == plans_[i].entry.options.plan;
      if (!float32_ || (plain && plans_[*float32_].entry.text != plans_[*float32_].entry.options.plan)) float32_ = i;
    }
    if (target_is_automatic_ && !float32_) {
      fail("no target: give --target ACCURACY, --target none, or a plan f32 of whose best accuracy it is 98 %");
    }

    const json data = data_record(dataset_);
    if (settings_.resume) {
      require_same_data(data, json(folder_->header().at("data")));
    } else if (!settings_.out.empty()) {
      folder_ = RunFolder::create(settings_.out,
                                  {{"type", "run"}, {"version", std::string(kVersion)}, {"parameters", parameters_},
                                   {"settings", settings_.to_json()}, {"data", data}},
                                  settings_.force);
    }
    if (!settings_.record.empty()) {
      recorder_.emplace(settings_.record_options, settings_.options.rounds, existing_records());
    }
  }

  void check_recording() {
    if (settings_.record.empty()) {
      if (!settings_.record_options.rounds.empty()) fail("--record-rounds needs --record, the folder to write to");
      return;
    }
    settings_.record_options.folder = settings_.record;
    Recorder::check(settings_.record_options, settings_.options.rounds, existing_records());
  }

  Recorder::Existing existing_records() const {
    if (settings_.resume) return Recorder::Existing::kKeep;
    return settings_.force ? Recorder::Existing::kRemove : Recorder::Existing::kRefuse;
  }

  void train(std::size_t index, Progress& progress) {
    PlanRun& plan = plans_[index];
    Trainer trainer(task_, settings_.options, plan.entry.options);
    const ordered_json names = {{"plan", plan.entry.text}, {"label", plan.entry.label}};
    if (folder_) {
      if (const auto checkpoint = folder_->checkpoint(index)) trainer.restore(*checkpoint);
      plan.rounds = folder_->rounds(index);
    }
    if (index == 0 && recorder_) recorder_->watch(trainer);
    const bool stopped_before = !trainer.stopped().empty();
    progress.begin(plan.entry.label, settings_.options.rounds, trainer.round());
    federated::run(trainer, [&](const RoundResult& round) {
      plan.rounds.push_back(round);
      const std::optional<double> accuracy = federated::smoothed_accuracy(plan.rounds).back();
      const bool go_on = interrupted == 0;
      if (folder_) {
        const bool keep = trainer.done() || !go_on || folder_->checkpoint_is_due(index);
        folder_->add_round(index, names, round, accuracy, keep ? std::optional(trainer.save()) : std::nullopt);
      }
      progress.update(round, accuracy);
      return go_on;
    });
    plan.stopped = trainer.stopped();
    if (folder_ && !plan.stopped.empty() && !stopped_before) {
      folder_->add_stop(index, names, plan.stopped, trainer.save());
    }
    progress.end(plan.stopped);
  }

  int report_interruption() const {
    std::string message = "fewbits: interrupted";
    if (folder_) {
      message += "; every finished round is in " + settings_.out + "/results.jsonl. To go on:\n  " +
                 shell_quoted(program_invocation_name) + " train --out " + shell_quoted(settings_.out) + " --resume";
    } else {
      message += "; nothing was kept, since there is no --out";
    }
    std::fprintf(stderr, "%s\n", message.c_str());
    return kInterrupted;
  }

  ordered_json summarize() {
    const auto summary_of = [&](const PlanRun& plan) { return federated::summarize(plan.rounds, parameters_, target_); };
    std::optional<federated::Summary> reference;
    if (float32_) {
      if (target_is_automatic_) {
        const std::optional<double> best = summary_of(plans_[*float32_]).best_accuracy;
        if (best) target_ = kTargetShare * *best;
      }
      reference = summary_of(plans_[*float32_]);
    }
    const auto or_null = [](const auto& value) { return value ? ordered_json(*value) : ordered_json(); };

    const federated::Options& options = settings_.options;
    ordered_json summary = {{"dataset", dataset_.name}, {"model", settings_.model}, {"parameters", parameters_},
                            {"clients", settings_.clients}};
    if (options.client_probability) {
      summary["clients_per_round"] = *options.client_probability * static_cast<double>(settings_.clients);
      summary["client_probability"] = *options.client_probability;
    } else {
      summary["clients_per_round"] = options.clients_per_round;
    }
    summary["rounds"] = options.rounds;
    summary["target_accuracy"] = or_null(target_);
    summary["partition"] = settings_.partition;
    summary["seed"] = options.seed;
    summary["plans"] = ordered_json::array();
    for (const PlanRun& plan : plans_) {
      const federated::Summary result = summary_of(plan);
      ordered_json entry = {{"plan", plan.entry.text}, {"label", plan.entry.label}, {"canonical", plan.canonical},
                            {"best_accuracy", or_null(result.best_accuracy)},
                            {"final_accuracy", or_null(result.final_accuracy)},
                            {"rounds_to_target", or_null(result.rounds_to_target)},
                            {"upload_bytes_to_target", or_null(result.upload_bytes_to_target)},
                            {"upload_bytes", result.upload_bytes},
                            {"download_bytes", result.download_bytes},
                            {"bits_per_coordinate", result.bits_per_coordinate},
                            {"codec_time_share", result.codec_time_share},
                            {"train_seconds", result.train_seconds},
                            {"encode_seconds", result.encode_seconds},
                            {"decode_seconds", result.decode_seconds},
                            {"bytes_ratio_to_float32", nullptr},
                            {"rounds_ratio_to_float32", nullptr}};
      if (reference && reference->rounds_to_target && result.rounds_to_target) {
        entry["bytes_ratio_to_float32"] = static_cast<double>(*result.upload_bytes_to_target) /
                                          static_cast<double>(*reference->upload_bytes_to_target);
        entry["rounds_ratio_to_float32"] = static_cast<double>(*result.rounds_to_target) /
                                           static_cast<double>(*reference->rounds_to_target);
      }
      if (!plan.stopped.empty()) entry["stopped"] = plan.stopped;
      summary["plans"].push_back(std::move(entry));
    }
    return summary;
  }

  CLI::App& command_;
  TrainSettings& settings_;
  std::optional<RunFolder> folder_;
  std::optional<Recorder> recorder_;
  std::vector<PlanRun> plans_;
  datasets::Dataset dataset_;
  federated::Task task_;
  std::size_t parameters_ = 0;
  std::optional<double> target_;
  bool target_is_automatic_ = false;
  std::optional<std::size_t> float32_;  // the plan that others are compared with
};

}  // namespace
}  // namespace fewbits::cli

void add_train_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "federated averaging on real data, plans side by side");
  const auto settings = std::make_shared<fewbits::cli::TrainSettings>();
  settings->add_to(*command);
  command->footer(fewbits::cli::kExamples);
  command->callback([command, settings] {
    const int code = fewbits::cli::TrainCommand(*command, *settings).run();
    if (code != 0) std::exit(code);
  });
}
