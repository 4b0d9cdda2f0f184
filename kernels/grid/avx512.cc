// Grid kernels for AVX-512; the arithmetic is in the .inc files.
#define NARROW_GRID_SYMBOL kGridKernelsAvx512
#define NARROW_GRID_NAME "avx512"
#define NARROW_GRID_ISA Isa::kAvx512
#define NARROW_GRID_LANES 16
#include "kernels/grid/table.inc"
