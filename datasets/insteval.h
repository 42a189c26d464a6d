#pragma once

#include <filesystem>

#include "datasets/table.h"

namespace fewbits::datasets {

// "insteval" of load_tables.
Tables load_insteval(const std::filesystem::path& data);

}  // namespace fewbits::datasets
