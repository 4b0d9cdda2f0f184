// Block kernels for AVX2; the arithmetic is in the .inc files.
#define NARROW_BLOCK_SYMBOL kBlockKernelsAvx2
#define NARROW_BLOCK_NAME "avx2"
#define NARROW_BLOCK_ISA Isa::kAvx2
#define NARROW_ROW_LANES 8
#include "kernels/compensated/table.inc"
