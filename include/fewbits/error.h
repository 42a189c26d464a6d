#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

#include "fewbits/export.h"

namespace fewbits {

// Why a call was refused. The list is closed and its numbers never change, so that they can cross languages.
enum class Errc : int {
  kBadArgument = 1,        // a value that the caller passed
  kBadPlan = 2,            // plan text; the offset is a position in it
  kNotFinite = 3,          // NaN or infinity in an update, or a transform of it that overflows float32
  kNotAFrame = 4,          // the first byte is another
  kUnknownVersion = 5,     // a format version, or a must-understand flag, that this library does not know
  kTruncated = 6,          // bytes end too early
  kTrailingBytes = 7,      // bytes go on after the end
  kChecksumMismatch = 8,   // damaged on the way
  kWrongPlan = 9,          // made with another plan, layout or profile
  kWrongRound = 10,
  kWrongClient = 11,       // names another client than the one that the caller vouches for
  kDuplicateClient = 12,   // this client is in the sum already
  kMalformed = 13,         // a value that no encoder writes
  kTooLarge = 14,          // a magnitude or weight over the limit
  kEmpty = 15,             // the mean of no client
  kWrongSeed = 16,         // partial sums of two different seeds
};

// The one exception type of the library.
class FEWBITS_API Error : public std::runtime_error {
 public:
  static constexpr std::size_t kNoOffset = static_cast<std::size_t>(-1);

  Error(Errc code, const std::string& message, std::size_t offset = kNoOffset);
  ~Error() override;

  Errc code() const noexcept { return code_; }

  // Byte in the frame, or position in the plan text, at which the trouble was found; kNoOffset where there is none.
  std::size_t offset() const noexcept { return offset_; }

 private:
  Errc code_;
  std::size_t offset_;
};

}  // namespace fewbits
