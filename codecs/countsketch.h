#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kCountSketch;

}  // namespace fewbits
