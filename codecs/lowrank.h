#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kLowRank;

}  // namespace fewbits
