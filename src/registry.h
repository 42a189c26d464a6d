#pragma once

#include <span>
#include <string_view>

#include "stage.h"

namespace fewbits {

// All stages, each a constant descriptor.
std::span<const StageDescriptor* const> registry() noexcept;

// Null where no stage has the name.
const StageDescriptor* find_stage(std::string_view name) noexcept;

}  // namespace fewbits
