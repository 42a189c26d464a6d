#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kMask;

}  // namespace fewbits
