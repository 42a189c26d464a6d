#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "fewbits/codec.h"
#include "fewbits/export.h"

namespace fewbits {

// Rates, errors and times of a plan: means over the updates, each with the same weight whatever its norm. Errors are those
// of updates: in a structured family, of its members.
struct Measurement {
  std::string plan;                    // canonical
  std::size_t coordinates = 0;
  double bytes = 0;                    // of a frame
  double rate = 0;                     // bits a coordinate, all bytes of the frame counted
  double nmse = 0;                     // mean of ‖decoded − update‖² / ‖update‖²
  std::optional<double> bias_ratio;    // repeats × NMSE of the mean of the repeats ÷ NMSE, 1 when unbiased; none where there is no error
  std::optional<double> limit_ratio;   // NMSE × (4^rate − 1), 1 being the least of an unbiased code on a Gaussian
  Unbiased unbiased = Unbiased::kNo;   // as the plan promises
  double encode_ns = 0;                // the fastest repeat, a coordinate, one thread
  double decode_ns = 0;
  bool structured = false;
};

struct MeasureOptions {
  std::size_t repeats = 10;   // frames for each update; a small bias needs many
  std::uint64_t seed = 1;
  std::function<void(std::size_t done, std::size_t all)> progress = nullptr;   // after each frame
};

// By real frames of real encoders. Each update (shape [codec.layout().elements()]) is coded `repeats` times, as the frames
// of different clients in different rounds. For a structured codec it is replaced by the nearest member of the round's
// family; or it has shape [codec.elements()] and is that member's free parameters.
// Throws kBadArgument for other lengths, for nothing to measure, and for an update of zeros that is not decoded as such.
FEWBITS_API Measurement measure(const Codec& codec, std::span<const std::span<const float>> updates,
                                const MeasureOptions& options = {});

}  // namespace fewbits
