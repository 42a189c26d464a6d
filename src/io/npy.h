#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace fewbits::io {

// What the header of an .npy says.
struct NpyHeader {
  std::string type;  // "<f4"
  std::vector<std::size_t> shape;
  std::size_t item_bytes = 0;
  std::size_t elements = 0;
  std::size_t data_offset = 0;
};

// Throws Error kBadArgument, with a text that begins with `name`. `bytes` is the file, or at least its beginning.
NpyHeader parse_npy_header(std::span<const std::byte> bytes, const std::string& name);

// Bytes of the longest header, and axes of the largest shape, that are read.
inline constexpr std::size_t kMaxNpyHeader = 1 << 16;
inline constexpr std::size_t kMaxNpyAxes = 64;  // as in NumPy 2

// values (shape [k], k of the elements) = their data (k · item_bytes bytes), converted to float32. Throws Error
// kBadArgument for a finite value that no float32 is near to.
void convert_npy_data(const NpyHeader& header, std::span<const std::byte> data, const std::string& name,
                      std::span<float> values);

// A whole .npy of version 1.0, float32.
std::vector<std::byte> make_npy(std::span<const std::size_t> shape, std::span<const float> values);

}  // namespace fewbits::io
