// Grid kernels for AVX2; the arithmetic is in the .inc files.
#define NARROW_GRID_SYMBOL kGridKernelsAvx2
#define NARROW_GRID_NAME "avx2"
#define NARROW_GRID_ISA Isa::kAvx2
#define NARROW_GRID_LANES 8
#include "kernels/grid/table.inc"
