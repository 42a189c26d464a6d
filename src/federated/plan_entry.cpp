#include "federated/plan_entry.h"

#include <utility>

#include "datasets/spec.h"
#include "fewbits/error.h"

namespace fewbits::federated {
namespace {

constexpr double kMost = 1e6;
constexpr double kLeast = 1e-12;

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t") - begin + 1));
}

}  // namespace

PlanEntry parse_plan_entry(std::string_view text, const PlanOptions& defaults) {
  PlanEntry entry{.text = trimmed(text), .label = trimmed(text), .options = defaults};
  const std::size_t at = entry.text.find('@');
  entry.options.plan = trimmed(std::string_view(entry.text).substr(0, at));
  if (entry.options.plan.empty()) throw Error(Errc::kBadArgument, "plan '" + entry.text + "' is empty");
  if (at == std::string::npos) return entry;

  const datasets::Spec own("options of a plan,", "@:" + trimmed(std::string_view(entry.text).substr(at + 1)));
  own.allow_only({"label", "lr", "lr-decay", "server-lr", "server-momentum"});
  if (own.has("label")) entry.label = own.value("label");
  for (const auto& [key, value] : {std::pair{"lr", &entry.options.learning_rate},
                                   std::pair{"lr-decay", &entry.options.learning_rate_decay},
                                   std::pair{"server-lr", &entry.options.server_learning_rate}}) {
    if (own.has(key)) *value = own.number(key, kLeast, kMost);
  }
  if (own.has("server-momentum")) entry.options.server_momentum = own.number("server-momentum", 0, 1);
  return entry;
}

}  // namespace fewbits::federated
