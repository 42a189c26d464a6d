#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kSign;

}  // namespace fewbits
