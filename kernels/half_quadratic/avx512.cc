// Half-quadratic kernels for AVX-512; the arithmetic is in lanes.inc.
#define NARROW_HALF_QUADRATIC_SYMBOL kHalfQuadraticAvx512
#define NARROW_HALF_QUADRATIC_NAME "avx512"
#define NARROW_HALF_QUADRATIC_ISA Isa::kAvx512
#include "kernels/half_quadratic/lanes.inc"
