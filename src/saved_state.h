#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "codec_impl.h"
#include "fewbits/codec.h"
#include "wire.h"

// The bytes of a state that its owner keeps between rounds; docs/frame-format.md.
namespace fewbits {

// Numbers are part of the format.
enum class StateKind : std::uint8_t {
  kEncoder = 1,
  kEf14 = 2,
  kMomentum = 3,      // EF14 with the momentum of DGC
  kEf21 = 4,
  kShift = 5,
  kServerEf21 = 6,
  kServerDiana = 7,
  kReference = 8,
};

class StateWriter {
 public:
  StateWriter(StateKind kind, const Codec& codec);

  ByteWriter& out() noexcept { return writer_; }

  template <class T>
  void values(const std::vector<T>& values) {
    writer_.bytes(std::as_bytes(std::span(values)));
  }
  void last_round(std::optional<std::uint32_t> round);   // none: nothing has been added yet, and no values follow
  void memory(const Codec::Impl::Memory& memory);        // of the stages, in their order

  std::vector<std::byte> seal() &&;

 private:
  std::vector<std::byte> bytes_;
  ByteWriter writer_{bytes_};
};

class StateReader {
 public:
  // Throws Error unless the bytes are whole, of this kind, and of a codec with this fingerprint.
  StateReader(std::span<const std::byte> bytes, StateKind kind, const Codec& codec);

  ByteReader& in() noexcept { return reader_; }

  // `count` finite values. Claims are compared with the bytes that are there before anything is allocated.
  template <class T>
  std::vector<T> values(std::uint64_t count) {
    const auto bytes = take(count, sizeof(T));
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    for (const T value : values)
      if (!is_finite(value)) reader_.malformed("a saved value is NaN or infinite");
    return values;
  }
  std::optional<std::uint32_t> last_round();
  Codec::Impl::Memory memory(const Codec& codec);

  void expect_end() const { reader_.expect_end(); }

 private:
  std::span<const std::byte> take(std::uint64_t count, std::size_t bytes_a_value);
  static bool is_finite(float value) noexcept;
  static bool is_finite(double value) noexcept;
  static bool is_finite(std::uint16_t bfloat) noexcept { return (bfloat & 0x7F80u) != 0x7F80u; }

  ByteReader reader_;
};

}  // namespace fewbits
