#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/dataset.h"

namespace fewbits::datasets {

// The text of one user, before it is split into tokens.
struct Document {
  std::string name;
  std::string text;
  bool chosen = true;  // others count for the vocabulary alone
};

struct Documents {
  std::string folder;
  std::vector<SourceFile> files;
  std::vector<Document> items;
};

// The next line, without its end; `text` loses both.
std::string_view take_line(std::string_view& text);

// What load_text says of the names, without tokens. Throws as it does.
Documents read_documents(const std::string& name, const std::filesystem::path& data);

}  // namespace fewbits::datasets
