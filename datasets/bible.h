#pragma once

#include <filesystem>

#include "datasets/documents.h"
#include "datasets/spec.h"

namespace fewbits::datasets {

// "kjv" of load_text: its chapters or books. Throws as load_text does.
Documents read_bible(const Spec& spec, const std::filesystem::path& data);

}  // namespace fewbits::datasets
