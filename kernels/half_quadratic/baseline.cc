// Half-quadratic kernels for any processor; the arithmetic is in lanes.inc.
#define NARROW_HALF_QUADRATIC_SYMBOL kHalfQuadraticBaseline
#define NARROW_HALF_QUADRATIC_NAME "baseline"
#define NARROW_HALF_QUADRATIC_ISA Isa::kScalar
#include "kernels/half_quadratic/lanes.inc"
