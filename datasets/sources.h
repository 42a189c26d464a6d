#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/dataset.h"

// What loaders of files share.
namespace fewbits::datasets {

// Lower-case hexadecimal.
std::string sha256_of(std::string_view bytes);

// The whole file; its path and checksum are appended to `files`. Throws kBadArgument when it cannot be read.
std::string read_source(const std::filesystem::path& path, std::vector<SourceFile>& files);

// Throws kBadArgument with both checksums where they differ. `title` is what the file should be: "InstEval".
void check_source(const SourceFile& file, std::string_view sha256, std::string_view title);

// The folder that a data set is read from: `data`, or else $FEWBITS_DATA/NAME where that is a folder, or else empty.
// Throws kBadArgument when `data` is given and is no folder.
std::filesystem::path chosen_folder(const std::string& name, const std::filesystem::path& data);

// What a program writes to its standard output. It is looked for in PATH, reads nothing, and runs in the locale C with
// no other environment; `command` is its name and its arguments. Empty when there is no such program. Throws
// kBadArgument when it fails or writes more than `most_bytes`.
std::string output_of(const std::vector<std::string>& command, std::size_t most_bytes);

}  // namespace fewbits::datasets
