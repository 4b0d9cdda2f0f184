// Grid kernels for any processor; the arithmetic is in the .inc files.
#define NARROW_GRID_SYMBOL kGridKernelsBaseline
#define NARROW_GRID_NAME "baseline"
#define NARROW_GRID_ISA Isa::kScalar
#define NARROW_GRID_LANES 4
#include "kernels/grid/table.inc"
