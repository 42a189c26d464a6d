#include "frame.h"

#include <algorithm>

#include "kernels/hash.h"

namespace fewbits {
namespace {

constexpr std::size_t kChecksumBytes = 4;

std::uint32_t checksum(std::span<const std::byte> frame, std::size_t checksum_at) noexcept {
  const std::uint64_t header = kernels::hash64(frame.first(checksum_at), 0);
  return static_cast<std::uint32_t>(kernels::hash64(frame.subspan(checksum_at + kChecksumBytes), header));
}

}  // namespace

FrameWriter::FrameWriter(ByteWriter& out, std::uint64_t fingerprint, const Context& context, std::size_t sections)
    : out_(out), sections_left_(sections) {
  out_.u8(kFrameMagic);
  out_.u8(kFrameVersion);
  out_.u8(sections > 1 ? kSeveralSections : 0);
  out_.u8(0);
  out_.u64(fingerprint);
  out_.varint(context.round);
  out_.varint(context.client);
  checksum_at_ = out_.written().size();
  out_.u32(0);
  if (sections > 1) out_.varint(sections);
}

void FrameWriter::begin_section() { section_at_ = out_.written().size(); }

void FrameWriter::end_section() {
  if (--sections_left_ == 0) return;   // the last one needs no length: the buffer has one
  const std::size_t end = out_.written().size();
  out_.varint(end - section_at_);
  const std::span<std::byte> bytes = out_.written();
  std::rotate(bytes.begin() + static_cast<std::ptrdiff_t>(section_at_), bytes.begin() + static_cast<std::ptrdiff_t>(end), bytes.end());
}

void FrameWriter::seal() {
  const std::uint32_t sum = checksum(out_.written(), checksum_at_);
  std::memcpy(out_.written().data() + checksum_at_, &sum, sizeof sum);
}

void read_header(std::span<const std::byte> frame, FrameInfo& info) {
  ByteReader reader(frame);
  if (const unsigned magic = reader.u8(); magic != kFrameMagic)
    throw Error(Errc::kNotAFrame, "no fewbits frame: the first byte is " + std::to_string(magic) + ", not 251", 0);
  info.version = reader.u8();
  if (info.version != kFrameVersion)
    throw Error(Errc::kUnknownVersion, "frame format version " + std::to_string(info.version) +
                                           " is unknown; this library reads version 1", 1);
  info.required_flags = reader.u8();
  if ((info.required_flags & ~kSeveralSections) != 0)
    throw Error(Errc::kUnknownVersion, "flags " + std::to_string(info.required_flags) +
                                           " have a bit that this library does not know and must", 2);
  info.optional_flags = reader.u8();
  info.fingerprint = reader.u64();
  const std::uint64_t round = reader.varint();
  if (round > kMaxRound) reader.malformed("round " + std::to_string(round) + " is over " + std::to_string(kMaxRound));
  info.round = static_cast<std::uint32_t>(round);
  info.client = reader.varint();
  const std::size_t checksum_at = reader.offset();
  info.checksum = reader.u32();
  info.header_bytes = reader.offset();
  if (const std::uint32_t sum = checksum(frame, checksum_at); sum != info.checksum)
    throw Error(Errc::kChecksumMismatch, "the frame is damaged: its checksum is " + std::to_string(info.checksum) +
                                             ", its bytes have " + std::to_string(sum), checksum_at);
}

void read_sections(std::span<const std::byte> frame, std::size_t most, FrameInfo& info) {
  ByteReader reader(frame.subspan(info.header_bytes), info.header_bytes);
  info.sections.clear();
  std::uint64_t count = 1;
  if ((info.required_flags & kSeveralSections) != 0) {
    count = reader.varint();
    if (count < 2) reader.malformed("a table of " + std::to_string(count) + " sections; one section has no table");
    if (count - 1 > reader.remaining())
      throw Error(Errc::kTruncated, std::to_string(count) + " sections are claimed in " +
                                        std::to_string(reader.remaining()) + " bytes", reader.offset());
    if (count > most)
      reader.malformed("a table of " + std::to_string(count) + " sections, the plan makes " + std::to_string(most));
  }
  for (; count > 1; --count) {
    const std::uint64_t length = reader.varint();
    const std::size_t offset = reader.offset();
    reader.bytes(static_cast<std::size_t>(length));
    info.sections.push_back({offset, static_cast<std::size_t>(length)});
  }
  info.sections.push_back({reader.offset(), reader.remaining()});
}

FrameInfo inspect(std::span<const std::byte> frame) {
  FrameInfo info;
  read_header(frame, info);
  read_sections(frame, frame.size(), info);
  return info;
}

}  // namespace fewbits
