#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "fewbits/error.h"

// Reading and writing the bytes of frames: little-endian, one encoding for each value (docs/frame-format.md).
namespace fewbits {

static_assert(std::endian::native == std::endian::little, "kernels write words as they lie in memory");

inline constexpr std::size_t kMaxVarintBytes = 10;

constexpr std::size_t varint_bytes(std::uint64_t value) noexcept {
  return value == 0 ? 1 : (static_cast<std::size_t>(std::bit_width(value)) + 6) / 7;
}

// Appends to a vector that the caller owns and reuses, or fills memory of the caller's from its beginning.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<std::byte>& out) noexcept : vector_(&out) {}

  // Room for all that will be written: to outgrow it is a mistake of the writer's, and throws std::length_error.
  explicit ByteWriter(std::span<std::byte> room) noexcept : room_(room) {}

  void u8(std::uint8_t value) { grow(1).front() = std::byte{value}; }
  void u16(std::uint16_t value) { raw(&value, sizeof value); }
  void u32(std::uint32_t value) { raw(&value, sizeof value); }
  void u64(std::uint64_t value) { raw(&value, sizeof value); }
  void f32(float value) { raw(&value, sizeof value); }
  void f64(double value) { raw(&value, sizeof value); }

  // LEB128: 7 bits a byte, low bits first, no more bytes than needed.
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) u8(static_cast<std::uint8_t>(value | 0x80));
    u8(static_cast<std::uint8_t>(value));
  }

  void bytes(std::span<const std::byte> data) {
    if (!data.empty()) raw(data.data(), data.size());
  }

  // Room for `count` zero bytes, to be written in place before the next call.
  std::span<std::byte> grow(std::size_t count) {
    if (vector_ != nullptr) {
      vector_->resize(vector_->size() + count);
      return std::span(*vector_).last(count);
    }
    if (count > room_.size() - size_) throw std::length_error("a frame is longer than its codec's max_frame_size");
    const std::span<std::byte> grown = room_.subspan(size_, count);
    std::ranges::fill(grown, std::byte{0});
    size_ += count;
    return grown;
  }

  // Takes back what has been written beyond `size` bytes.
  void rewind(std::size_t size) {
    if (vector_ != nullptr) vector_->resize(size);
    size_ = size;
  }

  // What has been written, and what the caller had in the vector before.
  std::span<std::byte> written() noexcept { return vector_ != nullptr ? std::span(*vector_) : room_.first(size_); }

 private:
  void raw(const void* data, std::size_t count) { std::memcpy(grow(count).data(), data, count); }

  std::vector<std::byte>* vector_ = nullptr;
  std::span<std::byte> room_;
  std::size_t size_ = 0;   // of what has been written into the room
};

// Reads bytes from outside. Every read is checked; errors carry the offset in the whole frame.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> data, std::size_t offset = 0) noexcept : data_(data), base_(offset) {}

  std::uint8_t u8() { return std::to_integer<std::uint8_t>(bytes(1)[0]); }
  std::uint16_t u16() { return raw<std::uint16_t>(); }
  std::uint32_t u32() { return raw<std::uint32_t>(); }
  std::uint64_t u64() { return raw<std::uint64_t>(); }
  float f32() { return raw<float>(); }
  double f64() { return raw<double>(); }

  std::uint64_t varint() {
    const std::size_t start = offset();
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      const std::uint64_t byte = u8();
      if (shift == 63 && byte > 1) break;
      value |= (byte & 0x7F) << shift;
      if (byte < 0x80) {
        if (byte == 0 && shift != 0) break;
        return value;
      }
    }
    throw Error(Errc::kMalformed, "a padded or overlong number at byte " + std::to_string(start), start);
  }

  // A scale: a finite number whose sign is not set.
  float scale() {
    const float value = f32();
    if (!(std::bit_cast<std::uint32_t>(value) < 0x7F80'0000u))
      malformed("the scale " + std::to_string(value) + " is not a finite number from 0");
    return value;
  }

  std::span<const std::byte> bytes(std::size_t count) {
    if (count > remaining())
      throw Error(Errc::kTruncated,
                  "bytes end at " + std::to_string(offset() + remaining()) + ", " + std::to_string(count) +
                      " more are needed at byte " + std::to_string(offset()),
                  offset());
    const auto taken = data_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  std::span<const std::byte> rest() { return bytes(remaining()); }

  std::size_t remaining() const noexcept { return data_.size() - position_; }
  std::size_t offset() const noexcept { return base_ + position_; }

  void expect_end() const {
    if (remaining() != 0)
      throw Error(Errc::kTrailingBytes, std::to_string(remaining()) + " bytes too many at byte " +
                                            std::to_string(offset()), offset());
  }

  // A value that no encoder writes, just read.
  [[noreturn]] void malformed(const std::string& what) const { throw Error(Errc::kMalformed, what, offset()); }

 private:
  template <class T>
  T raw() {
    T value;
    std::memcpy(&value, bytes(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::span<const std::byte> data_;
  std::size_t base_;
  std::size_t position_ = 0;
};

}  // namespace fewbits
