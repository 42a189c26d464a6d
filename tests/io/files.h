#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "fewbits/error.h"
#include "io/arrays.h"

// Files made by hand, from NEP 1, so that what is read does not depend on what we write.
namespace fewbits::io::test {

template <class T>
std::string data_of(const std::vector<T>& values) {
  std::string data(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(data.data(), values.data(), data.size());
  return data;
}

// Low byte first.
inline std::string little_endian(std::uint64_t value, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>(i < 8 ? value >> (8 * i) & 0xFF : 0);
  return text;
}

inline std::string npy_of_header(const std::string& header, const std::string& data, char version = 1) {
  return std::string("\x93NUMPY") + version + '\0' + little_endian(header.size(), version == 1 ? 2 : 4) + header + data;
}

inline std::string npy(const std::string& type, const std::string& shape, const std::string& data, char version = 1) {
  return npy_of_header("{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }\n", data, version);
}

class Folder : public testing::Test {
 protected:
  Folder() : folder_(std::filesystem::temp_directory_path() / ("fewbits_io_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~Folder() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path save(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return folder_ / name;
  }
  std::string bytes_of(const std::string& name) const {
    std::ifstream in(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  Arrays read(const std::string& name, const std::string& bytes) const { return read_arrays(save(name, bytes)); }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) names.push_back(entry.path().filename());
    return names;
  }

  // The words of the refusal; empty where there was none.
  static std::string message(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadArgument);
      return error.what();
    }
    return "";
  }
  std::string refusal(const std::string& name, const std::string& bytes) const {
    const std::string text = message([&] { read(name, bytes); });
    if (!text.empty()) {
      EXPECT_NE(text.find(name), std::string::npos) << text;
    }
    return text;
  }

  std::filesystem::path folder_;
};

}  // namespace fewbits::io::test
