#include "datasets/bible.h"

#include <charconv>
#include <string>
#include <string_view>

#include "datasets/sources.h"
#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBible = "the King James Bible of Debian's bible-kjv";
constexpr std::string_view kBibleSha256 = "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d";
constexpr std::size_t kMostBibleBytes = std::size_t{1} << 26;
const std::vector<std::string> kBibleCommand = {"bible", "-f", "Gen1:1-Rev22:21"};

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct Verse {
  std::string_view book, chapter, text;
};

// "1Sm2:3 And ...": the book may begin with a digit, and a space after it. Empty book: no verse.
Verse parse_verse(std::string_view line) {
  const auto run_end = [&](std::size_t at, bool (*belongs)(char)) {
    while (at < line.size() && belongs(line[at])) ++at;
    return at;
  };
  std::size_t letters = 0;
  if (!line.empty() && line[0] >= '1' && line[0] <= '3') letters = line.size() > 1 && line[1] == ' ' ? 2 : 1;
  const std::size_t book = run_end(letters, is_letter);
  const std::size_t chapter = run_end(book, is_digit);
  if (book == letters || chapter == book || chapter == line.size() || line[chapter] != ':') return {};
  const std::size_t verse = run_end(chapter + 1, is_digit);
  if (verse == chapter + 1 || verse == line.size() || line[verse] != ' ') return {};
  return {line.substr(0, book), line.substr(book, chapter - book), line.substr(verse + 1)};
}

bool parse_number(std::string_view text, std::size_t& number) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && stop == text.data() + text.size();
}

struct Range {
  std::size_t first = 1;
  std::size_t last = static_cast<std::size_t>(-1);
};

struct BibleChoice {
  bool by_book = false;
  bool has_range = false;
  Range books;
};

// "1-39", or "40" for a single one.
Range parse_range(const Spec& spec) {
  const std::string& text = spec.value("books");
  const std::size_t dash = text.find('-');
  Range range;
  const bool numbers =
      parse_number(std::string_view(text).substr(0, dash), range.first) &&
      parse_number(std::string_view(text).substr(dash == std::string::npos ? 0 : dash + 1), range.last);
  if (!numbers || range.first < 1 || range.first > range.last) {
    fail("data set '" + spec.text() + "': 'books' is '" + text + "', expected numbers of the first and the last, 1-39");
  }
  return range;
}

BibleChoice parse_choice(const Spec& spec) {
  spec.allow_only({"users", "books"});
  BibleChoice choice;
  if (spec.has("users")) {
    const std::string& users = spec.value("users");
    if (users != "chapters" && users != "books") {
      fail("data set '" + spec.text() + "': 'users' is '" + users + "', expected chapters or books");
    }
    choice.by_book = users == "books";
  }
  if (spec.has("books")) {
    choice.has_range = true;
    choice.books = parse_range(spec);
  }
  return choice;
}

std::string read_text(const std::string& name, const fs::path& data, Documents& documents) {
  const fs::path folder = chosen_folder(name, data);
  std::string text;
  if (!folder.empty()) {
    documents.folder = folder.string();
    text = read_source(folder / "kjv.txt", documents.files);
  } else {
    for (const std::string& word : kBibleCommand) documents.folder += (documents.folder.empty() ? "" : " ") + word;
    text = output_of(kBibleCommand, kMostBibleBytes);
    if (text.empty()) {
      fail(
          "the King James Bible is not found: there is no program `bible`. On Debian 12: apt-get install bible-kjv. "
          "Elsewhere: pass --data FOLDER with its output as kjv.txt, or train on `text` with --data FOLDER of .txt "
          "files, one a user");
    }
    documents.files.push_back({documents.folder, sha256_of(text)});
  }
  if (data.empty()) check_source(documents.files.front(), kBibleSha256, kBible);
  return text;
}

}  // namespace

Documents read_bible(const Spec& spec, const fs::path& data) {
  const BibleChoice choice = parse_choice(spec);
  Documents documents;
  const std::string text = read_text(spec.name(), data, documents);
  std::string_view book, chapter, rest = text;
  std::size_t books = 0;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const Verse verse = parse_verse(take_line(rest));
    if (verse.book.empty()) {
      fail(documents.files.front().path + ":" + std::to_string(number) +
           ": no verse; expected a line like \"Ge1:1 In the beginning ...\"");
    }
    const bool new_book = verse.book != book;
    if (new_book) ++books;
    if (new_book || (!choice.by_book && verse.chapter != chapter)) {
      std::string name(verse.book);
      if (!choice.by_book) name.append(" ").append(verse.chapter);
      documents.items.push_back({std::move(name), "", books >= choice.books.first && books <= choice.books.last});
    }
    book = verse.book;
    chapter = verse.chapter;
    documents.items.back().text.append(verse.text).append("\n");
  }
  if (choice.has_range && choice.books.last > books) {
    fail("data set '" + spec.text() + "': there are " + std::to_string(books) + " books");
  }
  return documents;
}

}  // namespace fewbits::datasets
