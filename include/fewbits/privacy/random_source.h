#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fewbits/export.h"

namespace fewbits::privacy {

// Where noise comes from. Privacy stands on nobody else knowing it: a source must be cryptographic and seeded by the system
// (secure/system_random.h), never the generator that client and server share, which hides nothing.
class FEWBITS_API RandomSource {
 public:
  virtual ~RandomSource();
  virtual void fill(std::span<std::byte> bytes) = 0;
};

// Words of a source, a buffer at a time; those that were drawn are erased. `source` must outlive it.
class FEWBITS_API RandomWords {
 public:
  explicit RandomWords(RandomSource& source) noexcept : source_(&source) {}
  std::uint64_t next();
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }   // in [0, 1), a multiple of 2^−53

 private:
  RandomSource* source_;
  std::array<std::uint64_t, 512> buffer_ = {};
  std::size_t left_ = 0;   // words of the buffer that are to come
};

}  // namespace fewbits::privacy
