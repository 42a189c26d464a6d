#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kPredict;

}  // namespace fewbits
