#pragma once

#include <span>
#include <string>
#include <string_view>

#include "parameters.h"

namespace fewbits {

// A name of the literature that stands for stages of a plan.
struct Preset {
  std::string_view name;
  std::string_view summary;
  std::string_view source;
  std::span<const ParameterSpec> parameters;
  std::string_view stages;   // "{key}" is replaced by the parameter's value

  std::string expand(const Parameters& values) const;
};

std::span<const Preset> preset_table() noexcept;

const Preset* find_preset(std::string_view name) noexcept;

}  // namespace fewbits
