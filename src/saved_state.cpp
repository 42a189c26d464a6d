#include "saved_state.h"

#include <cmath>

#include "kernels/hash.h"

namespace fewbits {
namespace {

constexpr std::uint8_t kMagic = 0xFA;
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kHashBytes = 8;

std::span<const std::byte> without_hash(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  if (const unsigned magic = reader.u8(); magic != kMagic)
    throw Error(Errc::kNotAFrame, "no saved state: the first byte is " + std::to_string(magic) + ", not 250", 0);
  if (const unsigned version = reader.u8(); version != kVersion)
    throw Error(Errc::kUnknownVersion, "version " + std::to_string(version) +
                                           " of a saved state is unknown; this library reads version 1", 1);
  if (bytes.size() < kHashBytes) throw Error(Errc::kTruncated, "the saved state ends in its header", bytes.size());
  const auto hashed = bytes.first(bytes.size() - kHashBytes);
  if (ByteReader(bytes.last(kHashBytes)).u64() != kernels::hash64(hashed, 0))
    throw Error(Errc::kChecksumMismatch, "the saved state is damaged", hashed.size());
  return hashed;
}

}  // namespace

StateWriter::StateWriter(StateKind kind, const Codec& codec) {
  writer_.u8(kMagic);
  writer_.u8(kVersion);
  writer_.u8(static_cast<std::uint8_t>(kind));
  writer_.u64(codec.fingerprint());
}

void StateWriter::last_round(std::optional<std::uint32_t> round) {
  writer_.varint(round ? std::uint64_t{*round} + 1 : 0);
}

void StateWriter::memory(const Codec::Impl::Memory& memory) {
  for (const std::vector<float>& own : memory) {
    writer_.varint(own.size());
    values(own);
  }
}

std::vector<std::byte> StateWriter::seal() && {
  writer_.u64(kernels::hash64(bytes_, 0));
  return std::move(bytes_);
}

StateReader::StateReader(std::span<const std::byte> bytes, StateKind kind, const Codec& codec)
    : reader_(without_hash(bytes)) {
  reader_.bytes(2);
  if (const unsigned saved = reader_.u8(); saved != static_cast<unsigned>(kind))
    throw Error(Errc::kWrongPlan, "the saved state is of kind " + std::to_string(saved) + ", not " +
                                      std::to_string(static_cast<unsigned>(kind)), 2);
  if (reader_.u64() != codec.fingerprint())
    throw Error(Errc::kWrongPlan, "the saved state belongs to another plan, layout or profile than '" + codec.plan() +
                                      "'", 3);
}

std::optional<std::uint32_t> StateReader::last_round() {
  const std::uint64_t next = reader_.varint();
  if (next == 0) return std::nullopt;
  if (next - 1 > kMaxRound)
    reader_.malformed("round " + std::to_string(next - 1) + " is over " + std::to_string(kMaxRound));
  return static_cast<std::uint32_t>(next - 1);
}

Codec::Impl::Memory StateReader::memory(const Codec& codec) {
  Codec::Impl::Memory memory = codec.impl().make_memory();
  for (std::vector<float>& own : memory) own = values<float>(reader_.varint());
  return memory;
}

std::span<const std::byte> StateReader::take(std::uint64_t count, std::size_t bytes_a_value) {
  if (count > reader_.remaining() / bytes_a_value)
    throw Error(Errc::kTruncated, std::to_string(count) + " saved values are due in " +
                                      std::to_string(reader_.remaining()) + " bytes", reader_.offset());
  return reader_.bytes(static_cast<std::size_t>(count) * bytes_a_value);
}

bool StateReader::is_finite(float value) noexcept { return std::isfinite(value); }
bool StateReader::is_finite(double value) noexcept { return std::isfinite(value); }

}  // namespace fewbits
