#include "datasets/documents.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "datasets/bible.h"
#include "datasets/sources.h"
#include "datasets/spec.h"
#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFortunes = "/usr/share/games/fortunes";
constexpr std::size_t kLeastFortune = 1000;  // characters of an author

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

std::vector<fs::path> sorted_files(const fs::path& folder, std::string_view extension) {
  std::vector<fs::path> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().extension() == extension) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

Documents read_folder(const std::string& name, const fs::path& data) {
  const fs::path folder = chosen_folder(name, data);
  if (folder.empty()) {
    fail("text '" + name + "' is not known: choose kjv or fortunes, or put .txt files, one a user, in a folder and " +
         "pass --data FOLDER");
  }
  Documents documents;
  documents.folder = folder.string();
  for (const fs::path& path : sorted_files(folder, ".txt")) {
    documents.items.push_back({path.stem().string(), read_source(path, documents.files)});
  }
  if (documents.items.empty()) fail(documents.folder + " has no .txt files; each is the text of one user");
  return documents;
}

// Adds an entry of a file of fortunes to its author's text. The author stands on the first line that begins with blanks
// and "--", up to a comma, a bracket, a quotation mark or the line's end; the text is what comes before.
void add_fortune(std::string_view entry, std::map<std::string, std::string>& texts) {
  for (std::size_t end = entry.find('\n'); end != std::string_view::npos; end = entry.find('\n', end + 1)) {
    const std::size_t dashes = entry.find_first_not_of(" \t", end + 1);
    if (dashes == end + 1 || dashes == std::string_view::npos || !entry.substr(dashes).starts_with("--")) continue;
    std::string_view author = entry.substr(dashes + 2);
    author = author.substr(0, author.find_first_of(",([\"\n"));
    const std::size_t first = author.find_first_not_of(" \t");
    if (first == std::string_view::npos) return;
    author = author.substr(first, author.find_last_not_of(" \t") + 1 - first);
    texts[std::string(author)].append(entry.substr(0, end + 1));
    return;
  }
}

// Entries stand between lines "%".
void add_fortunes(std::string_view file, std::map<std::string, std::string>& texts) {
  std::string entry;
  while (!file.empty()) {
    const std::string_view line = take_line(file);
    if (line != "%") entry.append(line).append("\n");
    if (line == "%" || file.empty()) {
      add_fortune(entry, texts);
      entry.clear();
    }
  }
}

Documents read_fortunes(const std::string& name, const fs::path& data) {
  fs::path folder = chosen_folder(name, data);
  if (folder.empty()) folder = kFortunes;
  Documents documents;
  documents.folder = folder.string();
  std::map<std::string, std::string> texts;
  if (fs::is_directory(folder)) {
    for (const fs::path& path : sorted_files(folder, "")) add_fortunes(read_source(path, documents.files), texts);
  }
  for (auto& [author, text] : texts) {
    if (text.size() >= kLeastFortune) documents.items.push_back({author, std::move(text)});
  }
  if (documents.items.empty()) {
    fail("no fortunes in " + documents.folder + ". On Debian 12: apt-get install fortunes. Elsewhere: pass --data " +
         "FOLDER with files of entries between lines %");
  }
  return documents;
}

}  // namespace

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

Documents read_documents(const std::string& name, const fs::path& data) {
  const Spec spec("data set", name);
  if (spec.name() == "kjv") return read_bible(spec, data);
  spec.allow_only({});
  return spec.name() == "fortunes" ? read_fortunes(name, data) : read_folder(name, data);
}

}  // namespace fewbits::datasets
