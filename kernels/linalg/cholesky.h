// Factors of a symmetric positive definite matrix, in double, with the
// largest index eliminated first, as error feedback wants them:
//
//   H = R R^T,  R upper triangular;   H = M D M^T,  M unit upper triangular.
//
//   std::vector<double> h = ...;                       // [n, n]
//   FactorResult f = FactorUpper(&pool, n, h.data());  // h becomes R
//   if (f.failed_at >= 0) ...                          // raise the damping
//
// Why this one: when columns are rounded in rising order, what column j
// should become, given the errors e of the columns before it, is
//   w_j + sum_{k<j} e_k M[k, j],      e_k = w_k - q_k,
// and the cost of its own error is D_j = R_jj^2 (LDLQ: Chee et al., QuIP,
// 2023, section 3.1; the same numbers as GPTQ's Cholesky of the inverse,
// without an inverse). Every element is one chain of operations in a fixed
// order: the same bits for any instruction set and number of threads.

#ifndef NARROW_KERNELS_LINALG_CHOLESKY_H_
#define NARROW_KERNELS_LINALG_CHOLESKY_H_

#include <cstdint>

#include "formats/base/parallel.h"

namespace narrow {

struct FactorResult {
  // The row whose pivot was not positive (or no number), or -1.
  int64_t failed_at = -1;
  double failed_pivot = 0;
  // Of the pivots R_ii^2 that were taken.
  double smallest_pivot = 0;
  double largest_pivot = 0;
};

// Reads the upper triangle of `h` [n, n] with its diagonal, writes R there
// and zeros below it. On failure `h` is spoilt.
FactorResult FactorUpper(ThreadPool* pool, int64_t n, double* h);

// M of H = M D M^T in float32, zeros below its diagonal, [n, n] at the
// beginning of R's own memory: of matrices this large there is room for few.
// What is left of R is spoilt, its diagonal too.
float* UnitFactorInPlace(ThreadPool* pool, int64_t n, double* r);

// Solves X R R^T = B in place for the rows of B [n_rows, n]: B (H^-1).
void SolveRows(ThreadPool* pool, const double* r, int64_t n, double* b,
               int64_t n_rows);

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_CHOLESKY_H_
