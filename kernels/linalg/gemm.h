// Matrix products whose every bit is fixed: each element of the result is one
// chain of fused multiply-adds over k, in rising k, in float32 or double,
// whatever the instruction set, the number of threads or the tiling.
//
//   Gemm(&pool, Update::kSubtract, m, n, k, a, lda, b, ldb, c, ldc);
//   GemmNT(&pool, Update::kSet, m, n, k, a, lda, b, ldb, c, ldc);
//
// Row-major; leading dimensions in elements. For solvers and calibration,
// whose output bytes must not depend on the machine; oneDNN's products
// (kernels/matmul) differ in the last bits between processors. Threads share
// out tiles of C, which may be neither A nor B; `pool` may be null: the calling
// thread. Measured on Zen 5, one core: some 85 % of the fused multiply-adds
// that it can do in float32, 75 % in double (linalg_bench).

#ifndef NARROW_KERNELS_LINALG_GEMM_H_
#define NARROW_KERNELS_LINALG_GEMM_H_

#include <cstdint>

#include "formats/base/parallel.h"
#include "kernels/linalg/update.h"

namespace narrow {

// C[m, n] from A[m, k] and B[k, n].
void Gemm(ThreadPool* pool, Update update, int64_t m, int64_t n, int64_t k,
          const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
          int64_t ldc);
void Gemm(ThreadPool* pool, Update update, int64_t m, int64_t n, int64_t k,
          const double* a, int64_t lda, const double* b, int64_t ldb, double* c,
          int64_t ldc);

// C[m, n] from A[m, k] and B[n, k]: rows times a weight matrix.
void GemmNT(ThreadPool* pool, Update update, int64_t m, int64_t n, int64_t k,
            const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
            int64_t ldc);
void GemmNT(ThreadPool* pool, Update update, int64_t m, int64_t n, int64_t k,
            const double* a, int64_t lda, const double* b, int64_t ldb,
            double* c, int64_t ldc);

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_GEMM_H_
