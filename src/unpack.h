#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "chain.h"
#include "codec_impl.h"

namespace fewbits {

// A frame that has been checked whole: nothing about it can fail any more. Reused, so that memory is allocated once.
struct UnpackedFrame {
  FrameInfo info;
  Context keys;
  std::vector<Chain::Unpacked> sections;   // one a group; they point into the frame
  std::vector<std::int32_t> symbols;
  double max_abs = 0;                      // of all dequantized values

  // sum (shape [codec.sum_size()]) += weight × the frame.
  void accumulate(const Codec::Impl& codec, Workspace& workspace, double weight, std::span<double> sum) const noexcept;

  // sums (of rows and columns, profile_state.h) += weight × estimates of the squares of the frame's coordinates, for those
  // whose section tells of them.
  void add_energies(const Codec::Impl& codec, Workspace& workspace, double weight, std::span<double> sums) const noexcept;
};

// What a receiver knows of a frame before it looks.
struct Expected {
  std::uint64_t seed = 0;
  std::optional<std::uint32_t> round;
  std::optional<std::uint64_t> client;
  Cohort cohort = {};
};

// The one function that parses frames. Claims are compared with the codec's own sizes before anything is allocated.
// Throws Error for every byte string that the codec's encoder could not have written. The workspace, of which nothing may be
// taken, is left with all the room that `accumulate` and `add_energies` need, and with what the frame's sections have taken
// of it: the caller's Scope ends when the frame is done with.
void unpack(const Codec::Impl& codec, std::span<const std::byte> frame, const Expected& expected, Workspace& workspace,
            UnpackedFrame& out);

}  // namespace fewbits
