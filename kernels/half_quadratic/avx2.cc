// Half-quadratic kernels for AVX2; the arithmetic is in lanes.inc.
#define NARROW_HALF_QUADRATIC_SYMBOL kHalfQuadraticAvx2
#define NARROW_HALF_QUADRATIC_NAME "avx2"
#define NARROW_HALF_QUADRATIC_ISA Isa::kAvx2
#include "kernels/half_quadratic/lanes.inc"
