// Row kernels for AVX2; the arithmetic is in lanes.inc.
#define NARROW_ROWS_SYMBOL kRowKernelsAvx2
#define NARROW_ROWS_NAME "avx2"
#define NARROW_ROWS_ISA Isa::kAvx2
#define NARROW_ROWS_LANES 8
#include "kernels/rows/lanes.inc"
