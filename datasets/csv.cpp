#include "datasets/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "datasets/documents.h"
#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::string_view without_blanks(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

template <typename Number>
bool parse(std::string_view text, Number& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end;
}

}  // namespace

CsvReader::CsvReader(std::string path, std::string_view text) : path_(std::move(path)), rest_(text) {
  if (rest_.starts_with(kByteOrderMark)) rest_.remove_prefix(kByteOrderMark.size());
  if (rest_.empty()) fail("is empty; expected a header");
  take_fields();
  for (const std::string_view name : fields_) {
    if (name.empty()) fail("a column has no name");
    if (find(name) != columns_.size()) fail("two columns are called '" + std::string(name) + "'");
    columns_.emplace_back(name);
  }
}

std::size_t CsvReader::find(std::string_view name) const {
  return static_cast<std::size_t>(std::find(columns_.begin(), columns_.end(), name) - columns_.begin());
}

std::size_t CsvReader::require(std::string_view name) const {
  const std::size_t column = find(name);
  if (column == columns_.size()) fail("there is no column '" + std::string(name) + "'");
  return column;
}

bool CsvReader::next() {
  if (rest_.empty()) return false;
  take_fields();
  if (fields_.size() != columns_.size()) {
    fail("the row has " + std::to_string(fields_.size()) + " fields, the header " + std::to_string(columns_.size()));
  }
  return true;
}

float CsvReader::number(std::size_t column) const {
  double value = 0;
  if (!parse(field(column), value) || !(std::abs(value) <= static_cast<double>(std::numeric_limits<float>::max()))) {
    refuse(column, "a finite number");
  }
  return static_cast<float>(value);
}

std::size_t CsvReader::integer(std::size_t column, std::size_t most) const {
  std::size_t value = 0;
  if (!parse(field(column), value) || value > most) refuse(column, "an integer from 0 to " + std::to_string(most));
  return value;
}

void CsvReader::refuse(std::size_t column, const std::string& expected) const {
  fail("'" + columns_[column] + "' is '" + std::string(field(column)) + "', expected " + expected);
}

void CsvReader::fail(const std::string& what) const {
  throw Error(Errc::kBadArgument, path_ + ":" + std::to_string(std::max<std::size_t>(line_, 1)) + ": " + what);
}

void CsvReader::take_fields() {
  ++line_;
  std::string_view line = take_line(rest_);
  if (line.ends_with('\r')) line.remove_suffix(1);
  fields_.clear();
  fields_.push_back(take_field(line));
  while (!line.empty()) {
    line.remove_prefix(1);
    fields_.push_back(take_field(line));
  }
}

// What is left of `line` begins with the comma after the field.
std::string_view CsvReader::take_field(std::string_view& line) const {
  const std::size_t first = std::min(line.find_first_not_of(" \t"), line.size());
  if (first == line.size() || line[first] != '"') {
    const std::string_view field = line.substr(0, line.find(','));
    line.remove_prefix(field.size());
    return without_blanks(field);
  }
  const std::size_t last = line.find('"', first + 1);
  if (last == std::string_view::npos) fail("a quotation mark is not closed");
  const std::string_view field = line.substr(first + 1, last - first - 1);
  line.remove_prefix(std::min(line.find_first_not_of(" \t", last + 1), line.size()));
  if (!line.empty() && line[0] != ',') fail("after the quotation mark comes no comma");
  return field;
}

}  // namespace fewbits::datasets
