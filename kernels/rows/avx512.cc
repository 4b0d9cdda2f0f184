// Row kernels for AVX-512; the arithmetic is in lanes.inc.
#define NARROW_ROWS_SYMBOL kRowKernelsAvx512
#define NARROW_ROWS_NAME "avx512"
#define NARROW_ROWS_ISA Isa::kAvx512
#define NARROW_ROWS_LANES 16
#include "kernels/rows/lanes.inc"
