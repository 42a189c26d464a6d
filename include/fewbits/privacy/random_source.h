#pragma once

#include <cstddef>
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

}  // namespace fewbits::privacy
