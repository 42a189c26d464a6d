#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kPack;

}  // namespace fewbits
