#define FEWBITS_WIDE_VECTORS
#define FEWBITS_TARGET_NAME "wide"
#define FEWBITS_TARGET_TABLE kWide
#include "kernels/targets/kernels.inc"
