#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/engine/support.h"

// Frames that no encoder wrote, made from one that it did.
namespace fewbits::test {

inline void truncations(const std::vector<std::byte>& bytes, const std::function<void(std::vector<std::byte>)>& visit) {
  for (std::size_t length = 0; length < bytes.size(); ++length)
    visit({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)});
}

// Calls visit(flipped, index of the byte) for every bit.
inline void flips(const std::vector<std::byte>& bytes,
                  const std::function<void(std::vector<std::byte>, std::size_t)>& visit) {
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::vector<std::byte> flipped(bytes);
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    visit(std::move(flipped), bit / 8);
  }
}

inline std::vector<std::byte> with_bytes(std::vector<std::byte> frame, std::size_t at,
                                         const std::vector<std::byte>& bytes) {
  std::copy(bytes.begin(), bytes.end(), frame.begin() + static_cast<std::ptrdiff_t>(at));
  return frame;
}

template <class T>
std::vector<std::byte> with_value(std::vector<std::byte> frame, std::size_t at, T value) {
  std::memcpy(frame.data() + at, &value, sizeof value);
  return frame;
}

inline std::vector<std::byte> varint(std::uint64_t value) {
  std::vector<std::byte> bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<std::byte>((value & 0x7F) | 0x80));
  bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

// A frame from its parts: what the header says may be any lie; the checksum is right.
struct Forged {
  std::uint8_t magic = 0xFB;
  std::uint8_t version = 1;
  std::uint8_t required_flags = 0;
  std::uint8_t optional_flags = 0;
  std::uint64_t fingerprint = 0;
  std::vector<std::byte> round = varint(0);
  std::vector<std::byte> client = varint(0);
  std::vector<std::byte> rest;  // after the checksum

  std::vector<std::byte> bytes() const {
    std::vector<std::byte> out = bytes_of({magic, version, required_flags, optional_flags});
    out.resize(12);
    std::memcpy(out.data() + 4, &fingerprint, sizeof fingerprint);
    for (const auto* part : {&round, &client}) out.insert(out.end(), part->begin(), part->end());
    out.resize(out.size() + 4);
    out.insert(out.end(), rest.begin(), rest.end());
    return resealed(out);
  }
};

// A zstd frame (RFC 8878) of blocks of one repeated byte: 128 KiB each for 4 bytes of input.
inline std::vector<std::byte> zstd_bomb(std::size_t blocks) {
  std::vector<std::byte> out = bytes_of({0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x88});  // no content size, window of 2^27
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::uint32_t header = (128u << 10) << 3 | 1u << 1 | (i + 1 == blocks ? 1u : 0u);  // run of one byte
    for (const unsigned byte : {header & 0xFF, header >> 8 & 0xFF, header >> 16, 0u})
      out.push_back(static_cast<std::byte>(byte));
  }
  return out;
}

// A zstd frame that claims 2^60 bytes and holds one.
inline std::vector<std::byte> zstd_giant_claim() {
  auto out = bytes_of({0x28, 0xB5, 0x2F, 0xFD, 0xC0, 0x88});  // content size of 8 bytes
  for (const unsigned byte : {0u, 0u, 0u, 0u, 0u, 0u, 0u, 0x10u}) out.push_back(static_cast<std::byte>(byte));
  for (const unsigned byte : {0x09u, 0u, 0u, 0u}) out.push_back(static_cast<std::byte>(byte));  // last, raw, 1 byte
  return out;
}

}  // namespace fewbits::test
