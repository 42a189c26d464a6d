#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kF32;
extern const StageDescriptor kF16;
extern const StageDescriptor kBf16;

}  // namespace fewbits
