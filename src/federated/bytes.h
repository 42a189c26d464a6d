#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "fewbits/error.h"

// The bytes of a checkpoint, in this machine's order: plain values one after the other, lists behind their lengths.
namespace fewbits::federated {

class BytesOut {
 public:
  // Begins with `magic`, which tells the kind and version of what follows.
  explicit BytesOut(std::string_view magic = {}) { raw(magic.data(), magic.size()); }

  template <class T>
    requires std::is_trivially_copyable_v<T>
  void value(const T& value) {
    raw(&value, sizeof value);
  }

  template <class List>
  void list(const List& values) {
    value<std::uint64_t>(values.size());
    raw(values.data(), values.size() * sizeof(typename List::value_type));
  }

  template <class List>
  void lists_by_client(const std::map<std::uint32_t, List>& lists) {
    value<std::uint64_t>(lists.size());
    for (const auto& [client, values] : lists) {
      value(client);
      list(values);
    }
  }

  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  std::vector<std::byte> take() && { return std::move(bytes_); }

 private:
  void raw(const void* data, std::size_t count) {
    const std::size_t old = bytes_.size();
    bytes_.resize(old + count);
    if (count > 0) std::memcpy(bytes_.data() + old, data, count);
  }

  std::vector<std::byte> bytes_;
};

// Throws kBadArgument for bytes that end too early, or claim more than there is.
class BytesIn {
 public:
  explicit BytesIn(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  template <class T>
  T value() {
    T value;
    raw(&value, sizeof value);
    return value;
  }

  template <class List>
  List list() {
    const auto count = value<std::uint64_t>();
    if (count > bytes_.size() / sizeof(typename List::value_type)) damaged();
    List values(static_cast<std::size_t>(count), typename List::value_type());
    raw(values.data(), values.size() * sizeof(typename List::value_type));
    return values;
  }

  template <class List>
  std::map<std::uint32_t, List> lists_by_client() {
    std::map<std::uint32_t, List> lists;
    for (auto left = value<std::uint64_t>(); left > 0; --left) {
      const auto client = value<std::uint32_t>();
      if (!lists.emplace(client, list<List>()).second) damaged();
    }
    return lists;
  }

  void expect_end() const {
    if (!bytes_.empty()) damaged();
  }

  [[noreturn]] static void damaged() { throw Error(Errc::kBadArgument, "checkpoint is damaged or of another version"); }

 private:
  void raw(void* to, std::size_t count) {
    if (count > bytes_.size()) damaged();
    if (count > 0) std::memcpy(to, bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
  }

  std::span<const std::byte> bytes_;
};

std::uint32_t crc32_of(std::span<const std::byte> bytes) noexcept;

// With a CRC-32 of all of it at the end. `unsealed` gives what is between the magic and that; it throws kBadArgument for
// another magic, and for damaged bytes.
std::vector<std::byte> sealed(BytesOut out);
BytesIn unsealed(std::span<const std::byte> bytes, std::string_view magic);

}  // namespace fewbits::federated
