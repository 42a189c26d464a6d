#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kTernary;

}  // namespace fewbits
