#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fewbits/codec.h"
#include "wire.h"

// The header of a frame; docs/frame-format.md.
namespace fewbits {

inline constexpr std::uint8_t kFrameMagic = 0xFB;
inline constexpr std::uint8_t kFrameVersion = 1;

// Must-understand flag: the frame has several sections, and a table of them.
inline constexpr std::uint8_t kSeveralSections = 0x01;

// Magic, version, two bytes of flags, fingerprint, round, client, checksum.
inline constexpr std::size_t kMaxHeaderBytes = 4 + 8 + varint_bytes(kMaxRound) + kMaxVarintBytes + 4;
// Of a client below 2^14 in a round below 2^14.
inline constexpr std::size_t kTypicalHeaderBytes = 20;
static_assert(kMaxHeaderBytes == 30);

// Writes a frame, of which `out` holds nothing yet: the header, then sections, then `seal`.
class FrameWriter {
 public:
  FrameWriter(ByteWriter& out, std::uint64_t fingerprint, const Context& context, std::size_t sections);

  // To be called before and after each section is appended.
  void begin_section();
  void end_section();

  // Fills the checksum in.
  void seal();

 private:
  ByteWriter& out_;
  std::size_t checksum_at_;
  std::size_t section_at_ = 0;
  std::size_t sections_left_;
};

// Reads the header, and verifies the checksum over all bytes. Throws Error.
void read_header(std::span<const std::byte> frame, FrameInfo& info);

// Reads the table of sections after the header. Throws Error, also for more than `most` of them, before there is memory
// for them: a byte of a frame can claim a section.
void read_sections(std::span<const std::byte> frame, std::size_t most, FrameInfo& info);

}  // namespace fewbits
