// Rows times the inverse of a small triangle, in double: the innermost step
// of cholesky.cc.
//
//   TriangleSolve solve = {...};
//   SolveTriangle(solve);
//
// All variants give the same bits. Safe from any thread.

#ifndef NARROW_KERNELS_LINALG_TRIANGLE_H_
#define NARROW_KERNELS_LINALG_TRIANGLE_H_

#include "kernels/linalg/triangle_solve.h"

namespace narrow {

void SolveTriangle(const TriangleSolve& solve);

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_TRIANGLE_H_
