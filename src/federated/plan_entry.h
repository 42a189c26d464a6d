#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fewbits/federated/federated.h"

namespace fewbits::federated {

// A plan with options of its own: "PLAN" or "PLAN @ lr=0.3,server-lr=1,label=NAME,feedback=ef14".
struct PlanEntry {
  std::string text;     // as it was given
  std::string label;    // what people read; the text where none is given
  PlanOptions options;
  std::optional<std::size_t> clients_per_round = std::nullopt;   // where it is the plan's own
};

// Options that are not named keep their value in `defaults`. Throws kBadArgument for a name or value that is none.
// The plan itself is not looked at. With the optimizer adam a momentum of 0 that the text does not ask for becomes 0.9.
PlanEntry parse_plan_entry(std::string_view text, const PlanOptions& defaults);

// "sgd" or "adam". Throws kBadArgument for another name.
ServerOptimizer server_optimizer(const std::string& name);

struct PlanOptionInfo {
  std::string name;
  std::string form;      // "feedback=none|ef14|ef21|dgc|diana|reference"
  std::string summary;
};
// The options that may stand behind the @.
std::vector<PlanOptionInfo> plan_entry_options();

}  // namespace fewbits::federated
