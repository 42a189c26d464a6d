#pragma once

#include "stage.h"

namespace fewbits {

extern const StageDescriptor kDitherStage;
extern const StageDescriptor kTrellisStage;

}  // namespace fewbits
