#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kPermK;

}  // namespace fewbits
