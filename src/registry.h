#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "fewbits/stages.h"
#include "stage.h"

namespace fewbits {

// All stages, each a constant descriptor.
std::span<const StageDescriptor* const> registry() noexcept;

// Null where no stage has the name.
const StageDescriptor* find_stage(std::string_view name) noexcept;

std::vector<ParameterInfo> parameter_infos(std::span<const ParameterSpec> specs);

}  // namespace fewbits
