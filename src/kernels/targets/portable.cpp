#define FEWBITS_TARGET_NAME "portable"
#define FEWBITS_TARGET_TABLE kPortable
#include "kernels/targets/kernels.inc"
