// Blocks of any codec under a Gram matrix: errors fed from column to column,
// fields refitted, codes improved, all in values that the file can hold.
//
//   if (!SupportsCompensation(*codec)) ...
//   const FeedFactor factor = MakeFeedFactor(&pool, *codec, n, r, scale);
//   FeedRows(*codec, targets, n_rows, factor, {}, bytes, &pool);
//   DescendRows(*codec, targets, n_rows, n, gram, {}, bytes, &pool);
//   for (const RowError& e : MeasureRows(...)) ...
//
// The state of a matrix is its bytes, row after row of blocks; every function
// packs what it found, so whatever is measured is what a reader will see. Rows
// are independent and stand in the lanes of vectors; the order of a row's
// operations is fixed: the same bytes for any instruction set and number of
// threads. Panels of at most 64 rows are worked on at once: some 15 bytes a
// weight of them and thread. Feedback and descent themselves, the idea and its
// sources: kernels/feedback.

#ifndef NARROW_KERNELS_COMPENSATED_COMPENSATED_H_
#define NARROW_KERNELS_COMPENSATED_COMPENSATED_H_

#include <cstdint>
#include <vector>

#include "formats/base/parallel.h"
#include "kernels/feedback/feedback.h"
#include "kernels/quant/codec.h"

namespace narrow {

// Whether the codec has blocks: all but the plain numbers.
bool SupportsCompensation(const BlockCodec& codec);

// H = R R^T (kernels/linalg/cholesky.h) as error feedback over units of
// columns needs it.
struct FeedFactor {
  int64_t n = 0;
  // order[i]: the column that stands at place i, whole units together; empty:
  // the natural order.
  std::vector<int32_t> order;
  int unit = 1;
  // [n, n]: what an error in column k adds to the targets of later units,
  // R[k, s] R[s, s]^-1; 1 on the diagonal, 0 inside a unit and before it.
  std::vector<float> m;
  // [n, unit]: the rows of R[s, s] R[s, s]^T, what errors in a unit cost once
  // later units made up for it; over `scale`. Then [n]: their diagonal.
  std::vector<float> metric;
  std::vector<float> pivots;
  // [n, block]: the same of whole blocks; in the natural order alone.
  int block = 1;
  std::vector<float> block_metric;
};

// `r` as FactorUpper leaves the matrix whose rows and columns have that order.
// REQUIRES: n % codec.block == 0; scale > 0.
FeedFactor MakeFeedFactor(ThreadPool* pool, const BlockCodec& codec, int64_t n,
                          const double* r, double scale,
                          std::vector<int32_t> order = {});

struct FeedOptions {
  // Rounds of refits and descent within a block once its columns are rounded,
  // under what its errors cost after the columns behind it; only then are they
  // fed on.
  int block_rounds = 2;
  bool refit = true;
  bool sweep = true;
};

// Blocks for `targets` [n_rows, n]: fields fitted to the weights as
// compensated when a block's first column comes. REQUIRES: finite targets; a
// factor in the natural order.
void FeedRows(const BlockCodec& codec, const float* targets, int64_t n_rows,
              const FeedFactor& factor, const FeedOptions& options,
              uint8_t* bytes, ThreadPool* pool);

// New codes under the fields that `bytes` hold, by feedback in the factor's
// order.
void RefeedRows(const BlockCodec& codec, const float* targets, int64_t n_rows,
                const FeedFactor& factor, uint8_t* bytes, ThreadPool* pool);

// Improves fields and codes of blocks under the Gram matrix [n, n] (float32,
// symmetric, damped by the caller). Every step of a row is kept only where its
// objective falls by the running gradient; at the end the gradient is computed
// anew, and a row that is not better than it was is left as it was.
void DescendRows(const BlockCodec& codec, const float* targets, int64_t n_rows,
                 int64_t n_cols, const float* gram,
                 const DescendOptions& options, uint8_t* bytes,
                 ThreadPool* pool);

// What blocks decode to against targets; `bytes` nullptr: zeros. Products in
// float32, a chain an element, summed in double.
std::vector<RowError> MeasureRows(const BlockCodec& codec, const float* targets,
                                  int64_t n_rows, int64_t n_cols,
                                  const float* gram, const uint8_t* bytes,
                                  ThreadPool* pool);

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_COMPENSATED_H_
