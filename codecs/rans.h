#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kRans;

}  // namespace fewbits
