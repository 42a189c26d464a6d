#define FEWBITS_TARGET_NAME "avx2"
#define FEWBITS_TARGET_TABLE kAvx2
#include "kernels/targets/kernels.inc"
