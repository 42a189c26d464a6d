#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kTopK;

}  // namespace fewbits
