#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <utility>

#include "cli/common.h"
#include "federated/attack.h"
#include "federated/canary.h"
#include "federated/task_data.h"
#include "fewbits/error.h"
#include "io/arrays.h"

namespace fewbits::cli {
namespace {

namespace fs = std::filesystem;
using federated::AttackReport;
using federated::AttackResult;
using federated::AttackSetting;
using federated::Spread;

struct Options {
  Options() { data.model = "softmax"; }

  federated::DataOptions data;
  federated::AttackOptions attack;
  std::vector<std::string> plans = {"f32", "trellis:bits=4", "trellis:bits=2", "trellis:bits=1", "trellis:bits=0.5",
                                    "dither:bits=4", "dither:bits=2", "dither:bits=1", "dither:bits=0.5"};
  std::vector<std::size_t> local_steps = {1, 5};
  std::vector<std::size_t> batches = {1, 8};
  std::vector<std::size_t> clients_in_sum = {1, 10, 100};
  std::vector<double> noise_multipliers;
  bool audit = false;
  federated::CanaryOptions canary;
  std::string out;
  bool force = false;
  bool json = false;
};

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

// One thing at a time: plans and local steps of a single example, and of the first of both all else.
std::vector<AttackSetting> settings_of(const Options& o) {
  std::vector<AttackSetting> all;
  const auto add = [&](const AttackSetting& setting) {
    if (std::ranges::find(all, setting) == all.end()) all.push_back(setting);
  };
  for (const std::string& plan : o.plans)
    for (const std::size_t steps : o.local_steps) add({.plan = plan, .local_steps = steps});
  const AttackSetting first{.plan = o.plans.front(), .local_steps = o.local_steps.front()};
  AttackSetting setting = first;
  for (const std::size_t batch : o.batches) setting.batch = batch, add(setting);
  setting = first;
  for (const std::size_t clients : o.clients_in_sum) setting.clients = clients, add(setting);
  setting = first;
  for (const double z : o.noise_multipliers) setting.noise_multiplier = z, add(setting);
  return all;
}

std::string label(const AttackSetting& s) {
  std::string text = s.plan + ", " + (s.batch == 1 ? "one example" : "batch of " + std::to_string(s.batch)) + ", " +
                     std::to_string(s.local_steps) + (s.local_steps == 1 ? " step" : " steps");
  if (s.clients > 1) text += ", sum of " + std::to_string(s.clients) + " clients";
  if (s.noise_multiplier > 0) text += ", noise z = " + number(s.noise_multiplier);
  return text;
}

std::string says(const AttackResult& result) {
  if (result.reads) return "reads the image";
  if (result.reads_one) return "like one of the images";
  return "no more than the mean image does";
}

std::string fixed(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3f", value);
  return buffer;
}

ordered_json to_json(const Spread& spread) {
  return {{"mean", spread.mean}, {"deviation", *spread.deviation}, {"least", spread.least}, {"most", spread.most}};
}

std::string array_name(std::size_t index) { return "case" + std::to_string(index); }

ordered_json to_json(const Options& o, const std::string& dataset, const AttackReport& report) {
  ordered_json all = {{"dataset", dataset}, {"model", o.data.model}, {"parameters", report.parameters}, {"features", report.features},
                      {"warm_rounds", o.attack.warm_rounds}, {"runs", o.attack.runs}, {"shown", report.shown}, {"seed", o.attack.seed},
                      {"mean_image", to_json(report.mean_image)}, {"unrelated", to_json(report.unrelated)},
                      {"cases", ordered_json::array()}};
  for (std::size_t i = 0; i < report.results.size(); ++i) {
    const AttackResult& result = report.results[i];
    const AttackSetting& setting = result.setting;
    all["cases"].push_back({{"case", label(setting)}, {"plan", setting.plan}, {"local_steps", setting.local_steps}, {"batch", setting.batch},
                            {"clients", setting.clients}, {"noise_multiplier", setting.noise_multiplier},
                            {"bits_per_coordinate", result.bits_per_coordinate}, {"cosine", to_json(result.cosine)},
                            {"closest", to_json(result.closest)}, {"closest_mean_image", to_json(result.closest_mean_image)},
                            {"reads", result.reads}, {"reads_one", result.reads_one}, {"says", says(result)},
                            {"array", array_name(i)}, {"cosines", result.cosines}});
  }
  return all;
}

std::string to_text(const AttackReport& report) {
  std::vector<std::vector<std::string>> rows = {{"what is seen", "bits", "cosine", "deviation", "closest", "mean image's", "says"}};
  for (const AttackResult& result : report.results) {
    const bool several = result.setting.batch * result.setting.clients > 1;
    rows.push_back({label(result.setting), number(result.bits_per_coordinate), fixed(result.cosine.mean), fixed(*result.cosine.deviation),
                    several ? fixed(result.closest.mean) : "", several ? fixed(result.closest_mean_image.mean) : "", says(result)});
  }
  rows.push_back({"the mean image, without any update", "", fixed(report.mean_image.mean), fixed(*report.mean_image.deviation), "", "", ""});
  rows.push_back({"another image", "", fixed(report.unrelated.mean), fixed(*report.unrelated.deviation), "", "", ""});
  return table(rows);
}

// attack.json, and attack.npz with true, mean and an array a case, shape [shown, features].
void write(const fs::path& folder, const ordered_json& said, const AttackReport& report) {
  fs::create_directories(folder);
  std::vector<Tensor> tensors = {{"true", {report.shown, report.features}}, {"mean", {report.features}}};
  std::vector<float> values = report.victims;
  values.insert(values.end(), report.mean.begin(), report.mean.end());
  for (std::size_t i = 0; i < report.results.size(); ++i) {
    tensors.push_back({array_name(i), {report.shown, report.features}});
    values.insert(values.end(), report.results[i].images.begin(), report.results[i].images.end());
  }
  io::write_arrays(folder / "attack.npz", Layout(std::move(tensors)), values);
  const std::string text = said.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  io::write_file(folder / "attack.json", std::as_bytes(std::span(text)));
}

void reconstruct(Options& o) {
  if (!o.out.empty() && !o.force && fs::exists(fs::path(o.out) / "attack.json")) fail(o.out + " has an attack.json; give --force to replace it");
  if (o.noise_multipliers.empty()) o.noise_multipliers = {0.1, 1};
  o.attack.settings = settings_of(o);
  const federated::TaskData data(o.data);
  const federated::Task task = data.task(o.attack.seed);
  const AttackReport report = federated::attack(task, o.attack);
  const ordered_json said = to_json(o, data.name(), report);
  if (!o.out.empty()) write(o.out, said, report);
  if (o.json) {
    print_json(said);
    return;
  }
  print(data.name() + ", " + o.data.model + " of " + std::to_string(report.parameters) + " parameters, " +
        (o.attack.warm_rounds == 0 ? "untrained" : "after " + std::to_string(o.attack.warm_rounds) + " rounds") + "; cosine of what is reconstructed with the "
        "victim's image, " + std::to_string(o.attack.runs) + " runs\n\n" + to_text(report));
}

void audit(Options& o) {
  if (!o.out.empty()) fail("--audit writes no files: leave --out out, --json prints what it has found");
  if (o.noise_multipliers.empty()) o.noise_multipliers = {0.5, 1, 2};
  o.canary.seed = o.attack.seed;
  o.canary.learning_rate = o.attack.learning_rate;
  o.canary.plan = o.plans.size() == 1 ? o.plans.front() : "f32";
  const federated::TaskData data(o.data);
  const federated::Task task = data.task(o.attack.seed);
  ordered_json all = {{"dataset", data.name()}, {"model", o.data.model}, {"plan", o.canary.plan}, {"clients", o.canary.clients},
                      {"trials", o.canary.audit.trials}, {"delta", o.canary.delta}, {"audits", ordered_json::array()}};
  std::vector<std::vector<std::string>> rows = {{"z", "AUC", "error", "theory", "epsilon, at least", "claimed", "verdict"}};
  std::string faults;
  for (const double z : o.noise_multipliers) {
    const privacy::AuditResult result = federated::audit_canary(task, z, o.canary);
    all["audits"].push_back({{"z", z}, {"auc", result.auc}, {"auc_error", result.auc_error}, {"auc_theory", result.auc_theory},
                             {"epsilon_least", result.epsilon_least}, {"epsilon", result.epsilon},
                             {"passes", result.passes()}, {"fault", result.fault}});
    rows.push_back({number(z), fixed(result.auc), fixed(result.auc_error), fixed(result.auc_theory), fixed(result.epsilon_least),
                    fixed(result.epsilon), result.passes() ? "passes" : "FAILS"});
    if (!result.passes()) faults += "\nz = " + number(z) + ": " + result.fault;
  }
  if (o.json) {
    print_json(all);
  } else {
    print("one round of training with privacy, " + std::to_string(o.canary.clients) + " clients and all take part: is one of them there?\n" +
          std::to_string(o.canary.audit.trials) + " rounds with it, as many without; epsilon at delta " + number(o.canary.delta) + "\n\n" + table(rows) + faults +
          (faults.empty() ? "" : "\n"));
  }
  if (!faults.empty()) throw std::runtime_error("the audit has failed");
}

}  // namespace

void add_attack_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("attack", "what an eavesdropper reads in updates; --audit: whether noise hides a client as well as it should");
  const auto options = std::make_shared<Options>();
  Options& o = *options;
  const auto list = [&](const char* name, auto& values, const char* what) {
    return command->add_option(name, values, what)->delimiter(',')->allow_extra_args(false)->capture_default_str();
  };
  command->add_option("--dataset", o.data.dataset, "of images, as in fewbits train")->capture_default_str();
  command->add_option("--data", o.data.data, "folder of the data set");
  command->add_option("--model", o.data.model, "softmax or mlp[:hidden=N]: the first layer is attacked")->capture_default_str();
  command->add_option("--plan", o.plans, "how updates are coded; once for each plan. Batches, sums and noise go with the first")
      ->allow_extra_args(false)->capture_default_str();
  list("--local-steps", o.local_steps, "of a client, on the same examples")->check(whole_number());
  list("--batch", o.batches, "examples of the client")->check(whole_number());
  list("--clients-in-sum", o.clients_in_sum, "of which the sum alone is seen, as with secure aggregation")->check(whole_number());
  list("--noise-multiplier", o.noise_multipliers, "noise of one update over its norm [0.1,1; with --audit 0.5,1,2]")->check(CLI::PositiveNumber);
  command->add_option("--lr", o.attack.learning_rate, "learning rate of the clients")->capture_default_str()->check(CLI::PositiveNumber);
  command->add_option("--warm", o.attack.warm_rounds, "rounds of training before the attack, 10 of 100 clients each, f32")->capture_default_str();
  command->add_option("--runs", o.attack.runs, "each with another victim and, without --warm, another model")->capture_default_str()->check(whole_number());
  add_seed(*command, o.attack.seed);
  command->add_option("--out", o.out, "folder for attack.json and attack.npz, of which python -m fewbits.attack FOLDER makes a picture");
  command->add_flag("--force", o.force, "replace what is there");
  command->add_flag("--audit", o.audit, "plants a client in a round with privacy, and guesses from what is released whether it is there");
  command->add_option("--trials", o.canary.audit.trials, "of the audit: rounds with the client, and without")->capture_default_str()->check(whole_number());
  command->add_option("--clients", o.canary.clients, "of the audit")->capture_default_str()->check(whole_number());
  command->add_option("--delta", o.canary.delta, "of the audit's epsilon")->capture_default_str()->check(CLI::Range(0.0, 1.0));
  add_json(*command, o.json);
  command->footer(R"(An image is read where its reconstruction is closer to it than the mean image is, by over three standard errors; of
batches and sums the closest of their images is compared too, with the mean image's closest.
Noise comes from the system: figures with noise differ from run to run. The attack is a simple one; what it does not
read is not safe.

Examples:
  fewbits attack
  fewbits attack --model mlp:hidden=200 --warm 20 --out out/attack && python -m fewbits.attack out/attack
  fewbits attack --plan f32 --plan eden:bits=1 --local-steps 1,20 --clients-in-sum 2,5
  fewbits attack --audit)");
  command->callback([options] { options->audit ? audit(*options) : reconstruct(*options); });
}

}  // namespace fewbits::cli
