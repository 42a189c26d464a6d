#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "fewbits/layout.h"

// NumPy's files: .npy (NEP 1, versions 1 to 3) and .npz, a zip archive of them.
namespace fewbits::io {

// The arrays of a file, one after the other as float32. An .npy is one tensor without name.
struct Arrays {
  Layout layout;
  std::vector<float> values;
  std::vector<std::string> types;  // of each tensor in the file, as NumPy writes it: "<f4"
};

// Reads float32, and float16, float64, integers and booleans, which are converted to the nearest float32; C order only.
// Throws Error kBadArgument that names the file and what is wrong with it. Sizes that a header claims are compared with
// those of the file before memory is allocated for them, and memory for compressed arrays grows as they are unpacked.
Arrays read_arrays(const std::filesystem::path& path);

// Writes an .npz with the layout's names and shapes, or an .npy when the path ends so and the layout is one tensor; the
// tensor without name is called `update` in an .npz. The file appears whole or not at all.
void write_arrays(const std::filesystem::path& path, const Layout& layout, std::span<const float> values);

// Throws kBadArgument unless the path ends in .npy or .npz; what write_arrays cannot write to it is refused as well.
void check_writable(const std::filesystem::path& path, const Layout& layout);

// Whole files. write_file writes beside the path and renames, but for paths that are no plain files, such as
// /dev/stdout.
std::vector<std::byte> read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace fewbits::io
