#include "cli/train.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "cli/train_report.h"
#include "cli/train_settings.h"
#include "cli/train_summary.h"
#include "federated/plan_entry.h"
#include "federated/recorder.h"
#include "federated/run_folder.h"
#include "federated/task_data.h"
#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "fewbits/federated/summary.h"
#include "fewbits/version.h"
#include "io/arrays.h"

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
constexpr double kUsualHeldOut = 0.2;
constexpr const char* kUsualLinks = "usual";
constexpr std::size_t kMostPersonalized = 2000;   // clients whose own models are tested, spread evenly over all
constexpr std::uint64_t kMostSeeds = 1000;

constexpr const char* kExamples = R"(Examples:
  fewbits train --out out/run
      the demo's setting: 100 clients, 10 a round, 200 rounds, three plans
  fewbits train --plan f32 --plan 'hadamard+quantize:bits=2' --rounds 50 --target 0.8
  fewbits train --plan f32 --plan 'train=mask:keep=0.0625 | quantize:bits=4 @ lr=0.8,label=masked'
  fewbits train --plan f32 --plan 'mask:keep=0.01+f32 @ feedback=ef14,label=random 1 % with error feedback'
  fewbits train --model softmax --partition shards:per=2 --lr 0.05 --out out/shards
  fewbits train --plan f32 --rounds 40 --target none --record out/updates
      and then: fewbits measure --plan 'hadamard+quantize:bits=2' out/updates/round0020-client0012.npz
  fewbits train --rounds 50 --seeds 3 --out out/seeds
      three times, with means and spreads, and ratios to the first plan seed by seed
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

// nullopt: none, or from the plan f32.
std::optional<double> parse_target(const std::string& text, bool& automatic) {
  automatic = text == "auto";
  if (automatic || text == "none" || text == "null") return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || !(value > 0)) {
    fail("target is '" + text + "', expected a score over 0 (of accuracies at most 1), or none, or auto");
  }
  return value;
}

// Takes the settings of the run that is resumed; those given now must be the same.
void adopt(CLI::App& command, TrainSettings& settings, const json& recorded) {
  json had = TrainSettings().to_json();
  had.update(recorded);
  const json given = settings.to_json();
  for (const auto& [key, value] : given.items()) {
    if (command.get_option("--" + key)->count() == 0 || value == had[key]) continue;
    fail("cannot resume: " + key + " is " + value.dump() + ", the run in " + settings.out + " has " + had[key].dump() +
         "; leave it out, or begin a run with another --out");
  }
  apply_items(command, items_of(recorded, settings.out + "/results.jsonl"), settings.out + "/results.jsonl");
}

// "'dense1.weight' of 784x10".
std::string tensor_text(const Tensor& tensor) {
  std::string shape;
  for (const std::size_t size : tensor.shape) shape += (shape.empty() ? "" : "x") + std::to_string(size);
  return "'" + tensor.name + "' of " + (shape.empty() ? "one value" : shape);
}

json data_record(const federated::TaskData& data) {
  json files = json::array();
  for (const datasets::SourceFile& file : data.files()) files.push_back({{"path", file.path}, {"sha256", file.sha256}});
  return {{"name", data.name()}, {"folder", data.folder()}, {"files", files}};
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

class TrainCommand {
 public:
  TrainCommand(CLI::App& command, TrainSettings& settings)
      : command_(command), settings_(settings), terms_{.settings = settings} {}

  int run() {
    prepare();
    Progress progress(settings_.quiet || settings_.json, settings_.options.rounds * plans_ * runs_.size());
    progress.say(data_->describe(settings_.options.seed));
    if (recorder_) progress.say(recorder_->describe());
    const InterruptGuard guard;
    for (SeedRun& run : runs_) {
      if (run.seed != settings_.options.seed) task_ = task_of(run.seed);
      for (std::size_t plan = 0; plan < plans_; ++plan) {
        train(run, plan, progress);
        if (interrupted != 0) return report_interruption();
      }
    }
    const ordered_json summary = summary_of(terms_, runs_);
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
    terms_.target = parse_target(settings_.target, terms_.target_is_automatic);
    if (settings_.personalizes() && settings_.data_options.held_out == 0) settings_.data_options.held_out = kUsualHeldOut;
    federated::TaskData::check(settings_.data_options);
    check_recording();
    const std::vector<PlanEntry> entries = settings_.plan_entries();
    check_seeds();
    settings_.options.privacy = settings_.privacy_options();
    if (settings_.secure) settings_.options.secure = settings_.secure_options;
    if (!settings_.links.empty()) settings_.options.links = federated::parse_links(settings_.links == kUsualLinks ? "" : settings_.links);

    data_.emplace(settings_.data_options);
    task_ = task_of(settings_.options.seed);
    if (!settings_.pretrained.empty()) task_.start = start_ = read_start();
    compile(entries);
    if (terms_.target_is_automatic && !terms_.float32) {
      fail("no target: give --target SCORE, --target none, or a plan f32 of whose best score it is 98 %");
    }

    if (!settings_.record.empty()) {
      recorder_.emplace(settings_.record_options, settings_.options.rounds, existing_records());
    }
    const json data = data_record(*data_);
    if (settings_.resume) {
      require_same_data(data, json(folder_->header().at("data")));
    } else if (!settings_.out.empty()) {
      folder_ = RunFolder::create(settings_.out,
                                  {{"type", "run"}, {"version", std::string(kVersion)}, {"parameters", terms_.parameters},
                                   {"settings", settings_.recorded()}, {"data", data}},
                                  settings_.force);
    }
  }

  void check_seeds() const {
    const std::uint64_t after = std::numeric_limits<std::uint64_t>::max() - settings_.options.seed;
    const std::uint64_t most = std::min(after, kMostSeeds - 1) + 1;
    if (settings_.seeds >= 1 && settings_.seeds <= most) return;
    fail("seeds is " + std::to_string(settings_.seeds) + ", expected 1 to " + std::to_string(most));
  }

  federated::Task task_of(std::uint64_t seed) const {
    federated::Task task = data_->task(seed);
    task.start = start_;
    if (settings_.personalizes() && task.held_out == nullptr) fail("--fine-tune and --personal need clients that hold examples out");
    return task;
  }

  federated::Options options_of(const PlanEntry& entry, std::uint64_t seed) const {
    federated::Options options = settings_.options;
    options.seed = seed;
    options.clients_per_round = entry.clients_per_round.value_or(settings_.clients_per_round.front());
    return options;
  }

  // The parameters of --pretrained, which has this model's tensors in any order, maybe beside others.
  std::vector<float> read_start() const {
    const io::Arrays arrays = io::read_arrays(settings_.pretrained);
    const Layout layout = task_.model()->layout();
    std::vector<float> start;
    for (const Tensor& tensor : layout.tensors()) {
      const std::span<const Tensor> there = arrays.layout.tensors();
      const auto found = std::ranges::find(there, tensor.name, &Tensor::name);
      if (found == there.end() || found->shape != tensor.shape) {
        fail(settings_.pretrained + " is not of this model: it has no array " + tensor_text(tensor));
      }
      const auto values = arrays.values.begin() + static_cast<std::ptrdiff_t>(arrays.layout.offset(static_cast<std::size_t>(found - there.begin())));
      start.insert(start.end(), values, values + static_cast<std::ptrdiff_t>(tensor.elements()));
    }
    return start;
  }

  // The plans of every run, and which of them is the plain float32.
  void compile(const std::vector<PlanEntry>& entries) {
    const Layout layout = task_.model()->layout();
    terms_.dataset = data_->name();
    terms_.partition = data_->partition();
    terms_.clients = task_.clients.count;
    terms_.metric = task_.model()->metric();
    if (terms_.metric.name == "accuracy" && terms_.target.value_or(0) > 1) fail("target is '" + settings_.target + "'; accuracies are at most 1");
    if (settings_.fine_tune.value_or(0) > 0 && !task_.model()->descends()) {
      fail("--fine-tune goes with models that are trained by descent along a gradient; '" + settings_.data_options.model + "' is not");
    }
    terms_.parameters = layout.elements();
    plans_ = entries.size();
    const std::string float32 = Codec::compile("f32", layout).plan();
    std::vector<PlanRun> plans;
    for (std::size_t i = 0; i < plans_; ++i) {
      const Trainer trainer(task_, options_of(entries[i], settings_.options.seed), entries[i].options);  // throws for what does not fit
      plans.push_back({.entry = entries[i], .canonical = trainer.codec().plan(), .noise_multiplier = trainer.noise_multiplier(), .rounds = {}, .stopped = {}, .personal = {}});
      if (i == 0 && !settings_.record.empty()) Recorder::check(trainer.codec());
      if (plans[i].canonical != float32) continue;
      // One with options of its own is compared with the others, unless it is the only one.
      const auto plain = [&](std::size_t plan) { return entries[plan].text == entries[plan].options.plan; };
      if (!terms_.float32 || (plain(i) && !plain(*terms_.float32))) terms_.float32 = i;
    }
    for (std::uint64_t i = 0; i < settings_.seeds; ++i) {
      runs_.push_back({.seed = settings_.options.seed + i, .plans = plans});
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

  void train(SeedRun& run, std::size_t index, Progress& progress) {
    PlanRun& plan = run.plans[index];
    const bool several = runs_.size() > 1;
    const federated::TrainingId id(index, several ? std::optional(run.seed) : std::nullopt);
    const federated::Options options = options_of(plan.entry, run.seed);
    Trainer trainer(task_, options, plan.entry.options);
    const ordered_json names = {{"plan", plan.entry.text}, {"label", plan.entry.label}};
    if (folder_) {
      if (const auto checkpoint = folder_->checkpoint(id)) trainer.restore(*checkpoint);
      plan.rounds = folder_->rounds(id);
    }
    if (recorder_ && index == 0 && run.seed == settings_.options.seed) recorder_->watch(trainer);
    const bool stopped_before = !trainer.stopped().empty();
    const std::string label = plan.entry.label + (several ? ", seed " + std::to_string(run.seed) : "");
    progress.begin(label, trainer.metric(), options.rounds, trainer.round());
    federated::run(trainer, [&](const RoundResult& round) {
      plan.rounds.push_back(round);
      const std::optional<double> score = federated::smoothed_scores(plan.rounds).back();
      if (folder_) folder_->add_round(id, names, round, score, trainer.save_changes());
      progress.update(round, score);
      return interrupted == 0;
    });
    plan.stopped = trainer.stopped();
    if (folder_ && !plan.stopped.empty() && !stopped_before) {
      folder_->add_stop(id, names, plan.stopped, trainer.save_changes());
    }
    progress.end(plan.stopped);
    if (interrupted != 0 && !trainer.done()) return;
    if (folder_) folder_->write_model(id, trainer.layout(), trainer.released());
    if (settings_.personalizes()) personalize(trainer, plan);
  }

  void personalize(Trainer& trainer, PlanRun& plan) const {
    std::vector<std::uint32_t> clients;
    const std::size_t count = std::min(task_.clients.count, kMostPersonalized);
    for (std::size_t i = 0; i < count; ++i) clients.push_back(static_cast<std::uint32_t>(i * task_.clients.count / count));
    plan.personal = trainer.personalize(clients, {.epochs = settings_.fine_tune.value_or(0), .learning_rate = plan.entry.options.learning_rate});
    std::erase_if(plan.personal, [](const federated::PersonalResult& result) { return result.examples == 0; });
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

  CLI::App& command_;
  TrainSettings& settings_;
  std::optional<RunFolder> folder_;
  std::optional<Recorder> recorder_;
  std::optional<federated::TaskData> data_;
  std::vector<float> start_;             // of --pretrained
  federated::Task task_;                 // of the seed that runs
  std::vector<SeedRun> runs_;
  std::size_t plans_ = 0;
  SummaryTerms terms_;
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
