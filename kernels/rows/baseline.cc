// Row kernels for any processor; the arithmetic is in lanes.inc.
#define NARROW_ROWS_SYMBOL kRowKernelsBaseline
#define NARROW_ROWS_NAME "baseline"
#define NARROW_ROWS_ISA Isa::kScalar
#define NARROW_ROWS_LANES 4
#include "kernels/rows/lanes.inc"
