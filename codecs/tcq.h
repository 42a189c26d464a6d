#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kTcq;

}  // namespace fewbits
