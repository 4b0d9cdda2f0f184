// Error feedback over the columns of a matrix, and descent under a Gram
// matrix, in any format: the core of gptq and of the compensated solvers.
//
//   FeedProblem feed = {targets, n_rows, m};
//   Feed(format, feed, &pool);
//   const std::vector<DescentError> errors =
//       Descend(format, targets, n_rows, gram, {}, &pool);
//
// Rows are independent and stand in the lanes of panels of at most 64 rows
// (matrix_format.h); a row's operations have one order, so results are the
// same for any number of threads and instruction set. The ideas and their
// sources: feed.cc, descend.cc.

#ifndef NARROW_KERNELS_FEEDBACK_FEEDBACK_H_
#define NARROW_KERNELS_FEEDBACK_FEEDBACK_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "formats/base/parallel.h"
#include "kernels/feedback/matrix_format.h"

namespace narrow {

// H = R R^T, R upper triangular, rows and columns in the order of places.
struct FeedProblem {
  const float* targets = nullptr;  // [n_rows, n], the columns' own order
  int64_t n_rows = 0;
  // [n, n] at places: what an error at place k adds to the targets of later
  // units s, R[k, s] R[s, s]^-1; 1 on the diagonal, 0 inside a unit, and
  // before it nothing is read.
  const float* m = nullptr;
  // Column at a place; empty: the natural order.
  absl::Span<const int32_t> order;
  // Of formats that round several columns together: [n, unit] at places, the
  // rows of R[s, s] R[s, s]^T.
  int unit = 1;
  const float* metric = nullptr;
  // [n] by column: fields are fitted, under these, to the weights as
  // compensated when a block's first column comes; nullptr: they stay.
  const float* fit_weights = nullptr;
  // Rounds of refits and descent within a block once its columns are rounded,
  // under what its errors cost after the columns behind it; only then are they
  // fed on. In the natural order, with a fit.
  int block_rounds = 0;
  bool refit = true;
  bool sweep = true;
  const float* block_metric = nullptr;  // [n, block], R[b, b] R[b, b]^T
};

// Codes for the targets, and fields with a fit, stored to `format`. REQUIRES:
// finite targets.
void Feed(const MatrixFormat& format, const FeedProblem& problem,
          ThreadPool* pool);

// [n, block] of FeedProblem::block_metric from M of units of 1 and its pivots
// D, H = M D M^T.
std::vector<float> BlockPrices(const float* m, const float* pivots, int64_t n,
                               int64_t block, ThreadPool* pool);

struct DescendOptions {
  int rounds = 3;  // of (refit, sweep)
  bool refit = true;
  bool sweep = true;
};

// Of a row's errors e = t - q.
struct RowError {
  double gram = 0;    // e H e^T
  double square = 0;  // e e^T
};

struct DescentError {
  RowError before;
  RowError after;
};

// Improves fields and codes under the Gram matrix [n, n] (float32, symmetric,
// damped by the caller). Every step of a row is kept only where its objective
// falls by the running gradient; at the end the gradient is computed anew, and
// a row that is not better than it was is left as it was.
std::vector<DescentError> Descend(const MatrixFormat& format,
                                  const float* targets, int64_t n_rows,
                                  const float* gram,
                                  const DescendOptions& options,
                                  ThreadPool* pool);

// Errors of what there is. Products in float32, a chain an element, summed in
// double.
std::vector<RowError> MeasureErrors(const MatrixFormat& format,
                                    const float* targets, int64_t n_rows,
                                    const float* gram, ThreadPool* pool);

}  // namespace narrow

#endif  // NARROW_KERNELS_FEEDBACK_FEEDBACK_H_
