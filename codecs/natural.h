#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kNatural;

}  // namespace fewbits
