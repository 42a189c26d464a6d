#define FEWBITS_TARGET_NAME "neon"
#define FEWBITS_TARGET_TABLE kNeon
#include "kernels/targets/kernels.inc"
