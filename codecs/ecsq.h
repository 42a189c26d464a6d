#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kEcsq;

}  // namespace fewbits
