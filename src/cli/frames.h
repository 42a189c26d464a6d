#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fewbits/codec.h"
#include "fewbits/structure.h"
#include "io/arrays.h"

// Updates and frames of plans with and without a structured family.
namespace fewbits::cli {

// What a codec encodes of an update.
struct Encodable {
  std::vector<float> values;  // the update, or free parameters of the nearest member of the family
  double energy_outside = 0;  // share of the update's squared norm that the family cannot carry
};
Encodable to_encodable(const Codec& codec, std::vector<float> update, const RoundContext& context);

// The update that decoded values stand for.
std::vector<float> to_update(const Codec& codec, std::vector<float> decoded, const RoundContext& context);

}  // namespace fewbits::cli
