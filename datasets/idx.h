#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fewbits::datasets {

// A file of unsigned bytes in the IDX format of MNIST (http://yann.lecun.com/exdb/mnist): bytes 0 0, type 8, number of
// dimensions, each dimension as 32 bits big-endian, the values row by row.
struct IdxFile {
  std::vector<std::size_t> shape;
  std::vector<std::uint8_t> values;
  std::string sha256;  // of the unpacked bytes, header included
};

inline constexpr std::size_t kMaxIdxValues = std::size_t{1} << 31;

// Reads `path`, gzip or plain. Memory follows the bytes that are there, never what the header claims.
// Throws kBadArgument with the path and what is wrong.
IdxFile read_idx(const std::filesystem::path& path, std::size_t dimensions);

}  // namespace fewbits::datasets
