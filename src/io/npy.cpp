#include "io/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "fewbits/error.h"
#include "fewbits/layout.h"
#include "kernels/kernels.h"

namespace fewbits::io {
namespace {

static_assert(std::endian::native == std::endian::little, "data of files is copied to memory as it is");

constexpr std::string_view kMagic = "\x93NUMPY";

[[noreturn]] void fail(const std::string& name, const std::string& what) {
  throw Error(Errc::kBadArgument, name + ": " + what);
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The dictionary of a header: a Python literal with the keys descr, fortran_order and shape.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  NpyHeader parse() {
    NpyHeader header;
    expect('{');
    bool type = false, order = false, shape = false;
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !type) {
        type = true;
        if (peek() == '[') fail(name_, "a structured array; save its fields as arrays of their own");
        header.type = quoted();
      } else if (key == "fortran_order" && !order) {
        order = true;
        if (accept_word("True")) fail(name_, "the array is in Fortran order; save numpy.ascontiguousarray(array)");
        if (!accept_word("False")) broken();
      } else if (key == "shape" && !shape) {
        shape = true;
        header.shape = extents();
      } else {
        broken();
      }
      if (!accept(',') && peek() != '}') broken();
    }
    skip_space();
    if (!text_.empty() || !type || !order || !shape) broken();
    return header;
  }

 private:
  [[noreturn]] void broken() const { fail(name_, "the header of the .npy is damaged"); }

  void skip_space() { text_.remove_prefix(std::min(text_.find_first_not_of(" \n\t"), text_.size())); }

  char peek() {
    skip_space();
    return text_.empty() ? '\0' : text_.front();
  }

  bool accept(char wanted) {
    if (peek() != wanted) return false;
    text_.remove_prefix(1);
    return true;
  }

  void expect(char wanted) {
    if (!accept(wanted)) broken();
  }

  bool accept_word(std::string_view word) {
    skip_space();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }

  std::string quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') broken();
    text_.remove_prefix(1);
    const std::size_t end = text_.find(quote);
    if (end == std::string_view::npos) broken();
    std::string value(text_.substr(0, end));
    text_.remove_prefix(end + 1);
    return value;
  }

  std::vector<std::size_t> extents() {
    std::vector<std::size_t> shape;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::size_t extent = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), extent);
      if (error != std::errc()) broken();
      text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
      shape.push_back(extent);
      if (shape.size() > kMaxNpyAxes) fail(name_, "the shape has more than " + std::to_string(kMaxNpyAxes) + " axes");
      if (!accept(',') && peek() != ')') broken();
    }
    return shape;
  }

  std::string_view text_;
  const std::string& name_;
};

template <class T>
void convert(std::span<const std::byte> data, [[maybe_unused]] const std::string& name, std::span<float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, data.data() + i * sizeof(T), sizeof(T));
    if constexpr (std::is_same_v<T, double>) {
      constexpr double kRoundsToInfinity = 0x1.ffffffp127;  // half a step over the largest float32
      if (std::isfinite(value) && std::abs(value) >= kRoundsToInfinity) {
        char text[32];
        std::snprintf(text, sizeof text, "%g", value);
        fail(name, "the value " + std::string(text) + " is beyond float32");
      }
    }
    values[i] = static_cast<float>(value);
  }
}

void convert_half(std::span<const std::byte> data, const std::string&, std::span<float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, data.data() + i * sizeof bits, sizeof bits);
    values[i] = kernels::from_half(bits);
  }
}

using Converter = void (*)(std::span<const std::byte>, const std::string& name, std::span<float>);
struct ItemType {
  std::string_view name;
  std::size_t bytes;
  Converter convert;
};
constexpr std::array kItemTypes = {
    ItemType{"<f4", 4, convert<float>},        ItemType{"<f8", 8, convert<double>},
    ItemType{"<f2", 2, convert_half},          ItemType{"|i1", 1, convert<std::int8_t>},
    ItemType{"|u1", 1, convert<std::uint8_t>}, ItemType{"|b1", 1, convert<std::uint8_t>},
    ItemType{"<i2", 2, convert<std::int16_t>}, ItemType{"<u2", 2, convert<std::uint16_t>},
    ItemType{"<i4", 4, convert<std::int32_t>}, ItemType{"<u4", 4, convert<std::uint32_t>},
    ItemType{"<i8", 8, convert<std::int64_t>}, ItemType{"<u8", 8, convert<std::uint64_t>},
};

const ItemType* find_type(std::string_view name) {
  const auto found = std::ranges::find(kItemTypes, name, &ItemType::name);
  return found == kItemTypes.end() ? nullptr : &*found;
}

}  // namespace

NpyHeader parse_npy_header(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() < 10 || !as_text(bytes).starts_with(kMagic))
    fail(name, "not an .npy: it does not begin with \\x93NUMPY");
  const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(bytes[i]); };
  const std::size_t version = byte(6);
  if (version < 1 || version > 3) fail(name, ".npy version " + std::to_string(version) + "; versions 1 to 3 are read");
  const std::size_t start = version == 1 ? 10 : 12;
  if (bytes.size() < start) fail(name, "the header of the .npy is cut off");
  const std::size_t length =
      version == 1 ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  if (length > kMaxNpyHeader - start) fail(name, "the header of the .npy claims " + std::to_string(length) + " bytes");
  if (length > bytes.size() - start) fail(name, "the header of the .npy is cut off");
  NpyHeader header = HeaderParser(as_text(bytes.subspan(start, length)), name).parse();
  const ItemType* type = find_type(header.type);
  if (type == nullptr)
    fail(name, "type '" + header.type + "' is not read; save the array as float32, array.astype('<f4')");
  header.item_bytes = type->bytes;
  header.elements = Tensor{"", header.shape}.elements();
  if (header.elements > Layout::kMaxElements)
    fail(name, "more than " + std::to_string(Layout::kMaxElements) + " elements");
  header.data_offset = start + length;
  return header;
}

void convert_npy_data(const NpyHeader& header, std::span<const std::byte> data, const std::string& name,
                      std::span<float> values) {
  find_type(header.type)->convert(data, name, values);
}

std::vector<std::byte> make_npy(std::span<const std::size_t> shape, std::span<const float> values) {
  std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
  for (const std::size_t extent : shape) text += std::to_string(extent) + ",";
  text += "), }";
  constexpr std::size_t kPrefix = 10;
  constexpr std::size_t kAlignment = 64;
  text.append(kAlignment - (kPrefix + text.size() + 1) % kAlignment, ' ');
  text += '\n';
  std::string head(kMagic);
  head += {'\x01', '\x00', static_cast<char>(text.size() & 0xFF), static_cast<char>(text.size() >> 8)};
  head += text;
  std::vector<std::byte> file(head.size() + values.size_bytes());
  std::memcpy(file.data(), head.data(), head.size());
  std::ranges::copy(std::as_bytes(values), file.begin() + static_cast<std::ptrdiff_t>(head.size()));
  return file;
}

}  // namespace fewbits::io
