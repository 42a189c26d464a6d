#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kLloyd;

}  // namespace fewbits
