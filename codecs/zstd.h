#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kZstd;

}  // namespace fewbits
