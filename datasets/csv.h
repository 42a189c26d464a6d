#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fewbits::datasets {

// Rows of comma-separated values under a header. A field may stand in double quotes and have commas then; blanks around
// it are dropped. Lines end in LF or CRLF.
class CsvReader {
 public:
  // `path` is for messages; `text` must outlive the reader. Throws kBadArgument when there is no header, or a column
  // has no name or that of another.
  CsvReader(std::string path, std::string_view text);

  const std::vector<std::string>& columns() const noexcept { return columns_; }
  // The column `name`, or the number of columns where there is none.
  std::size_t find(std::string_view name) const;
  // Throws kBadArgument where there is none.
  std::size_t require(std::string_view name) const;

  // Goes to the next row; false at the end. Throws kBadArgument when it has more or fewer fields than the header.
  bool next();
  std::string_view field(std::size_t column) const { return fields_[column]; }
  // Throws kBadArgument when the field is no number that a float32 is near to.
  float number(std::size_t column) const;
  // Throws kBadArgument when the field is no integer of [0, most].
  std::size_t integer(std::size_t column, std::size_t most) const;

  // Throws kBadArgument with path and line.
  [[noreturn]] void fail(const std::string& what) const;

 private:
  void take_fields();
  std::string_view take_field(std::string_view& line) const;
  [[noreturn]] void refuse(std::size_t column, const std::string& expected) const;

  std::string path_;
  std::string_view rest_;
  std::size_t line_ = 0;
  std::vector<std::string> columns_;
  std::vector<std::string_view> fields_;
};

}  // namespace fewbits::datasets
