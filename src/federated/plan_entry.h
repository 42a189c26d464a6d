#pragma once

#include <string>
#include <string_view>

#include "fewbits/federated/federated.h"

namespace fewbits::federated {

// A plan with options of its own: "PLAN" or "PLAN @ lr=0.3,server-lr=1,label=NAME".
struct PlanEntry {
  std::string text;     // as it was given
  std::string label;    // what people read; the text where none is given
  PlanOptions options;
};

// Options that are not named keep their value in `defaults`. Throws kBadArgument for a name or value that is none.
// The plan itself is not looked at.
PlanEntry parse_plan_entry(std::string_view text, const PlanOptions& defaults);

}  // namespace fewbits::federated
