#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kHadamard;

}  // namespace fewbits
