#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "fewbits/error.h"

namespace fewbits::datasets::test {

// A folder for files that a test writes; it is gone afterwards.
class DataFolder : public testing::Test {
 protected:
  DataFolder() : folder_(std::filesystem::temp_directory_path() / ("fewbits_data_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~DataFolder() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path save(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }

  // What is said when `call` is refused.
  static std::string message(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadArgument);
      return error.what();
    }
    ADD_FAILURE() << "was accepted";
    return "";
  }

  std::filesystem::path folder_;
};

}  // namespace fewbits::datasets::test

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)
