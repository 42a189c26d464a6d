#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kQuantize;

}  // namespace fewbits
