// Run kernels for AVX2; the arithmetic is in lanes.inc.
#define NARROW_RUNS_SYMBOL kRunKernelsAvx2
#define NARROW_RUNS_NAME "avx2"
#define NARROW_RUNS_ISA Isa::kAvx2
#include "kernels/runs/lanes.inc"
