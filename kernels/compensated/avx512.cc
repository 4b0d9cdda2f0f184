// Block kernels for AVX-512; the arithmetic is in the .inc files.
#define NARROW_BLOCK_SYMBOL kBlockKernelsAvx512
#define NARROW_BLOCK_NAME "avx512"
#define NARROW_BLOCK_ISA Isa::kAvx512
#define NARROW_ROW_LANES 16
#include "kernels/compensated/table.inc"
