#include "federated/plan_entry.h"

#include <algorithm>
#include <utility>

#include "datasets/spec.h"
#include "fewbits/error.h"

namespace fewbits::federated {
namespace {

constexpr double kMost = 1e6;
constexpr double kLeast = 1e-12;
constexpr std::uint64_t kMostClients = 0xFFFF'FFFF;
constexpr double kDgcMomentum = 0.9;   // Lin et al. 2018
constexpr double kAdamMomentum = 0.9;  // Reddi et al. 2020

constexpr std::pair<const char*, Feedback> kFeedbacks[] = {
    {"none", Feedback::kNone}, {"ef14", Feedback::kEf14},   {"ef21", Feedback::kEf21},
    {"dgc", Feedback::kDgc},   {"diana", Feedback::kDiana}, {"reference", Feedback::kReference}};

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t") - begin + 1));
}

[[noreturn]] void wrong(const std::string& key, const std::string& value, const std::string& expected) {
  throw Error(Errc::kBadArgument, key + " is '" + value + "', expected " + expected);
}

Feedback feedback_of(const std::string& value) {
  const auto found = std::ranges::find(kFeedbacks, value, [](const auto& pair) { return std::string(pair.first); });
  if (found == std::end(kFeedbacks)) wrong("feedback", value, "none, ef14, ef21, dgc, diana or reference");
  return found->second;
}

void read_feedback(const datasets::Spec& own, PlanOptions& options) {
  if (own.has("feedback")) {
    options.feedback = feedback_of(own.value("feedback"));
    if (options.feedback == Feedback::kDgc) options.error_feedback.momentum = kDgcMomentum;
  }
  const auto given = [&](const char* key, std::initializer_list<Feedback> kinds) {
    if (!own.has(key)) return false;
    if (std::ranges::find(kinds, options.feedback) != kinds.end()) return true;
    std::string names;
    for (const auto& [name, kind] : kFeedbacks)
      if (std::ranges::find(kinds, kind) != kinds.end()) names += (names.empty() ? "" : " or ") + std::string(name);
    throw Error(Errc::kBadArgument, std::string(key) + " goes with feedback=" + names + " only");
  };
  FeedbackOptions& error_feedback = options.error_feedback;
  if (given("feedback-scale", {Feedback::kEf14, Feedback::kEf21, Feedback::kDgc}))
    error_feedback.scale = own.number("feedback-scale", kLeast, 1);
  if (given("feedback-storage", {Feedback::kEf14, Feedback::kDgc})) {
    const std::string& storage = own.value("feedback-storage");
    if (storage != "float32" && storage != "bf16") wrong("feedback-storage", storage, "float32 or bf16");
    error_feedback.storage = storage == "bf16" ? StateStorage::kBFloat16 : StateStorage::kFloat32;
  }
  if (given("feedback-decay", {Feedback::kEf14, Feedback::kDgc}))
    error_feedback.decay = own.number("feedback-decay", 0, 1);
  if (given("feedback-max-age", {Feedback::kEf14, Feedback::kDgc}))
    error_feedback.max_age = static_cast<std::uint32_t>(own.integer("feedback-max-age", 0, kMaxRound));
  if (given("feedback-momentum", {Feedback::kDgc})) error_feedback.momentum = own.number("feedback-momentum", kLeast, 1);
  if (given("feedback-rate", {Feedback::kDiana})) options.shift.rate = own.number("feedback-rate", kLeast, 1);
}

}  // namespace

ServerOptimizer server_optimizer(const std::string& name) {
  if (name == "sgd") return ServerOptimizer::kSgd;
  if (name != "adam") wrong("server", name, "sgd or adam");
  return ServerOptimizer::kAdam;
}

std::vector<PlanOptionInfo> plan_entry_options() {
  return {
      {"label", "label=NAME", "what tables and pictures call it"},
      {"lr", "lr=R", "as --lr, for this plan alone"},
      {"lr-decay", "lr-decay=F", "as --lr-decay"},
      {"server-lr", "server-lr=R", "as --server-lr"},
      {"server-momentum", "server-momentum=M", "as --server-momentum"},
      {"server", "server=sgd|adam", "as --server"},
      {"server-beta2", "server-beta2=B", "as --server-beta2"},
      {"server-tau", "server-tau=T", "as --server-tau"},
      {"average", "average=A", "as --average"},
      {"prox", "prox=M", "as --prox"},
      {"clip", "clip=S", "as --clip"},
      {"downlink", "downlink=PLAN|none", "as --downlink; a plan of one parameter at most, since a comma ends it"},
      {"clients-per-round", "clients-per-round=N", "as --clients-per-round"},
      {"step", "step=profile|private", "with scale=profile: the steps are the profile's, the same for all clients, or each client's own"},
      {"feedback", "feedback=none|ef14|ef21|dgc|diana|reference",
       "what clients remember between frames: the error of biased codecs, or, with diana and reference, shifts of unbiased ones"},
      {"feedback-storage", "feedback-storage=float32|bf16", "how clients keep it (ef14, dgc)"},
      {"feedback-decay", "feedback-decay=F", "its factor for each round that a client skipped (ef14, dgc); 1"},
      {"feedback-max-age", "feedback-max-age=N", "rounds after which it is dropped (ef14, dgc); 0: never"},
      {"feedback-momentum", "feedback-momentum=M", "of dgc; 0.9"},
      {"feedback-scale", "feedback-scale=S", "factor before coding (ef14, ef21, dgc); of the codec"},
      {"feedback-rate", "feedback-rate=A", "share of a difference that diana learns; 1/(1 + NMSE bound)"},
  };
}

PlanEntry parse_plan_entry(std::string_view text, const PlanOptions& defaults) {
  PlanEntry entry{.text = trimmed(text), .label = trimmed(text), .options = defaults};
  const std::size_t at = entry.text.find('@');
  entry.options.plan = trimmed(std::string_view(entry.text).substr(0, at));
  if (entry.options.plan.empty()) throw Error(Errc::kBadArgument, "plan '" + entry.text + "' is empty");
  const datasets::Spec own("options of a plan,", at == std::string::npos ? "@" : "@:" + trimmed(std::string_view(entry.text).substr(at + 1)));
  std::vector<std::string> known;
  for (const PlanOptionInfo& option : plan_entry_options()) known.push_back(option.name);
  own.allow_only(known);
  if (own.has("label")) entry.label = own.value("label");
  for (const auto& [key, value] : {std::pair{"lr", &entry.options.learning_rate},
                                   std::pair{"lr-decay", &entry.options.learning_rate_decay},
                                   std::pair{"server-lr", &entry.options.server_learning_rate}}) {
    if (own.has(key)) *value = own.number(key, kLeast, kMost);
  }
  for (const auto& [key, value] : {std::pair{"server-momentum", &entry.options.server_momentum},
                                   std::pair{"server-beta2", &entry.options.server_beta2},
                                   std::pair{"average", &entry.options.average}}) {
    if (own.has(key)) *value = own.number(key, 0, 1);
  }
  if (own.has("server-tau")) entry.options.server_tau = own.number("server-tau", kLeast, kMost);
  if (own.has("prox")) entry.options.prox = own.number("prox", 0, kMost);
  if (own.has("clip")) entry.options.clip = own.number("clip", kLeast, kMost);
  if (own.has("downlink")) entry.options.downlink = own.value("downlink") == "none" ? "" : own.value("downlink");
  if (own.has("server")) entry.options.server = server_optimizer(own.value("server"));
  if (entry.options.server == ServerOptimizer::kAdam && entry.options.server_momentum == 0 && !own.has("server-momentum"))
    entry.options.server_momentum = kAdamMomentum;
  if (own.has("clients-per-round")) entry.clients_per_round = static_cast<std::size_t>(own.integer("clients-per-round", 1, kMostClients));
  if (own.has("step")) {
    const std::string step = own.value("step");
    if (step != "private" && step != "profile")
      throw Error(Errc::kBadArgument, "step=" + step + " of plan '" + entry.label + "' is not private or profile");
    entry.options.private_step = step == "private";
  }
  read_feedback(own, entry.options);
  return entry;
}

}  // namespace fewbits::federated
