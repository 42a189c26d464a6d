#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

// Replays a corpus without libFuzzer: program FOLDER. Inputs whose names begin with accepted- or refused- must be.
int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(arguments[1])) files.push_back(entry.path());
  std::ranges::sort(files);
  int wrong = 0;
  for (const auto& file : files) {
    const std::string name = file.filename().string();
    std::fprintf(stderr, "%s\n", name.c_str());  // the last line names the input that ends the program
    std::ifstream in(file, std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const bool accepted = fewbits::fuzz::accepts({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    if (name.starts_with(accepted ? "refused-" : "accepted-")) {
      std::fprintf(stderr, "  is %s\n", accepted ? "accepted" : "refused");
      ++wrong;
    }
  }
  std::fprintf(stderr, "%zu inputs, %d of them wrong\n", files.size(), wrong);
  return files.empty() || wrong != 0 ? 1 : 0;
}
