// Run kernels for any processor; the arithmetic is in lanes.inc.
#define NARROW_RUNS_SYMBOL kRunKernelsBaseline
#define NARROW_RUNS_NAME "baseline"
#define NARROW_RUNS_ISA Isa::kScalar
#include "kernels/runs/lanes.inc"
