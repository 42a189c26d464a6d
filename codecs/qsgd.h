#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kQsgd;

}  // namespace fewbits
