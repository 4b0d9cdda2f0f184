// Block kernels for any processor; the arithmetic is in the .inc files.
#define NARROW_BLOCK_SYMBOL kBlockKernelsBaseline
#define NARROW_BLOCK_NAME "baseline"
#define NARROW_BLOCK_ISA Isa::kScalar
#define NARROW_ROW_LANES 4
#include "kernels/compensated/table.inc"
