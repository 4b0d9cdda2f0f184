// Gram matrices: sums of outer products of activation rows.
//
//   std::vector<double> gram(n_cols * n_cols);       // zeros
//   AddGram(&pool, rows, n_rows, n_cols, /*weights=*/nullptr, gram.data());
//   AddCross(&pool, left, n_left, right, n_right, n_rows, nullptr,
//            cross.data());
//   MirrorUpper(&pool, n_cols, gram.data());         // once, at the end
//
// Rows are taken in blocks of kGramBlockRows: a block's products are summed
// in float32 (one chain of fused multiply-adds an element, gemm.h), blocks are
// added in double. So the result depends on how rows are grouped into calls
// unless every call but the last has a multiple of kGramBlockRows rows;
// callers see to that (calibration/blockwise/ gathers rows into whole blocks).
// Each element is the same for any number of threads and instruction set.

#ifndef NARROW_KERNELS_LINALG_GRAM_H_
#define NARROW_KERNELS_LINALG_GRAM_H_

#include <cstdint>

#include "formats/base/parallel.h"

namespace narrow {

inline constexpr int64_t kGramBlockRows = 256;

// gram[i, j] += sum over rows of weight * x[i] * x[j], for j >= i; what is
// below the diagonal is not touched. `weights`, one a row, or nullptr for 1
// (a row of weight 0 counts nothing whatever it holds). [n_cols, n_cols].
void AddGram(ThreadPool* pool, const float* rows, int64_t n_rows,
             int64_t n_cols, const float* weights, double* gram);

// cross[i, j] += sum over rows of weight * left[i] * right[j], all i and j.
// [n_left_cols, n_right_cols].
void AddCross(ThreadPool* pool, const float* left, int64_t n_left_cols,
              const float* right, int64_t n_right_cols, int64_t n_rows,
              const float* weights, double* cross);

// Copies what is above the diagonal to below it.
void MirrorUpper(ThreadPool* pool, int64_t n, double* matrix);

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_GRAM_H_
