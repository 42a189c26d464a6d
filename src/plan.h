#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fewbits/layout.h"
#include "stage.h"

namespace fewbits {

// The text of a plan, parsed; docs/codecs.md has the grammar. No layout is known yet.
//
//   plan    = [ "train=" stage "|" ] rule *( ";" rule )
//   rule    = [ pattern "=" ] stage *( "+" stage )
//   pattern = glob over tensor names | "<" number of elements
//   stage   = name [ ":" key "=" value *( "," key "=" value ) ], or a preset (presets.h) in the same form
struct Plan {
  struct Stage {
    const StageDescriptor* descriptor;
    Parameters parameters;
    std::size_t position = 0;   // in the plan's text

    std::string text() const;   // canonical
  };

  // The stages that code the tensors which match, sorted by role.
  struct Rule {
    std::string pattern;
    std::vector<Stage> transforms;
    Stage quantizer;
    Stage coder;

    std::string text() const;
    bool matches(const Tensor& tensor) const;
  };

  std::optional<Stage> family;
  std::vector<Rule> rules;

  // Throws kBadPlan with the position in `text`, and the choices there.
  static Plan parse(std::string_view text);

  // Throws kBadPlan with the position added to the message.
  [[noreturn]] static void refuse(const std::string& message, std::size_t position);

  // The canonical text. It parses to an equal plan.
  std::string text() const;

  // What the fingerprint hashes: the canonical text with stage ids, and without rate wishes.
  std::string format_text() const;
};

}  // namespace fewbits
