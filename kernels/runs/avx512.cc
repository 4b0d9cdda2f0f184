// Run kernels for AVX-512; the arithmetic is in lanes.inc.
#define NARROW_RUNS_SYMBOL kRunKernelsAvx512
#define NARROW_RUNS_NAME "avx512"
#define NARROW_RUNS_ISA Isa::kAvx512
#include "kernels/runs/lanes.inc"
