#include "federated/bytes.h"

#include <zlib.h>

namespace fewbits::federated {

std::uint32_t crc32_of(std::span<const std::byte> bytes) noexcept {
  return static_cast<std::uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::vector<std::byte> sealed(BytesOut out) {
  out.value(crc32_of(out.bytes()));
  return std::move(out).take();
}

BytesIn unsealed(std::span<const std::byte> bytes, std::string_view magic) {
  std::uint32_t checksum = 0;
  if (bytes.size() < magic.size() + sizeof checksum || std::memcmp(bytes.data(), magic.data(), magic.size()) != 0) BytesIn::damaged();
  const auto content = bytes.first(bytes.size() - sizeof checksum);
  std::memcpy(&checksum, bytes.data() + content.size(), sizeof checksum);
  if (checksum != crc32_of(content)) BytesIn::damaged();
  return BytesIn(content.subspan(magic.size()));
}

}  // namespace fewbits::federated
