#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fewbits/export.h"

namespace fewbits {

struct ParameterInfo {
  std::string name;
  std::string type;           // "integer", "number" or "choice"
  std::string range;          // "1..8", "(0, 1]" or "round|client"
  std::string default_value;  // empty where the parameter must be given, or is optional
  std::string summary;
  bool optional = false;      // may be left out; it has no default
};

struct StageInfo {
  std::uint32_t id = 0;       // changes when the stage's bytes do
  std::string name;
  std::vector<std::string> roles;   // of "transform", "quantizer", "coder", "structure"
  std::string summary;
  std::string source;               // paper, section or equation
  std::vector<ParameterInfo> parameters;
};

// Every stage that a plan may name, in the order of the registry.
FEWBITS_API std::vector<StageInfo> stages();

// A name of the literature that a plan may give in the place of stages.
struct PresetInfo {
  std::string name;
  std::string stages;    // what it stands for; "{bits}" is the parameter's value
  std::string summary;
  std::string source;
  std::vector<ParameterInfo> parameters;
};

FEWBITS_API std::vector<PresetInfo> presets();

}  // namespace fewbits
