#define FEWBITS_TARGET_NAME "avx512"
#define FEWBITS_TARGET_TABLE kAvx512
#include "kernels/targets/kernels.inc"
