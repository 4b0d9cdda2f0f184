// Error feedback over the columns of a matrix (GPTQ, LDLQ), and descent on
// codes and scales under a Gram matrix, over the grids of grid.h.
//
//   FeedbackOptions options;
//   options.fit = {...};                          // of groups, on entering
//   Feedback(targets, factor, options, &rows, &pool);
//   DescentResult d = Descend(targets, gram, {}, &rows, &pool);
//
// `factor` holds M and D of kernels/linalg/cholesky.h as float32. Columns are
// taken in the order `order`, which the factor and the Gram matrix already
// have; groups are those of the columns' own numbers, so `order` may permute
// whole groups and columns inside a group, or any columns when the groups'
// scales are fixed beforehand.
//
// The work is done by kernels/feedback, which serves all formats.

#ifndef NARROW_KERNELS_GRID_FEEDBACK_H_
#define NARROW_KERNELS_GRID_FEEDBACK_H_

#include <cstdint>

#include "absl/types/span.h"
#include "formats/base/parallel.h"
#include "kernels/feedback/feedback.h"
#include "kernels/grid/grid.h"

namespace narrow {

struct FeedbackFactor {
  int64_t n = 0;
  const float* m = nullptr;       // [n, n], unit upper triangular, permuted
  const float* pivots = nullptr;  // [n], D, permuted
  // order[i]: the column that stands at place i; empty: the natural order.
  absl::Span<const int32_t> order;
};

struct FeedbackOptions {
  // Fit a group's scales on the weights as compensated when its first column
  // comes (under the pivots, or `column_weights`); otherwise the
  // scales in `rows` stay.
  bool fit_on_entry = true;
  bool weight_by_pivots = true;
  // [n_cols], the columns' own order; used without weight_by_pivots.
  const float* column_weights = nullptr;
  FitOptions fit;
  // With a fit, in the natural order: FeedProblem::block_rounds.
  int block_rounds = 0;
  bool block_refit = true;
  bool block_sweep = true;
};

// Codes (and scales, with fit_on_entry) for `targets` [n_rows, n_cols].
void Feedback(const float* targets, const FeedbackFactor& factor,
              const FeedbackOptions& options, GridRows* rows, ThreadPool* pool);

struct DescentResult {
  // tr((T - Q) H (T - Q)^T), double, before and after.
  double error_before = 0;
  double error_after = 0;
};

// Improves scales, zeros and codes: kernels/feedback/feedback.h. Refit: the
// exact least-squares scale (and zero) of each group given codes, rounded to
// legal values. Sweep: each code in turn to its best given all others.
// REQUIRES: `rows` has codes; n_cols columns.
DescentResult Descend(const float* targets, const float* gram,
                      const DescendOptions& options, GridRows* rows,
                      ThreadPool* pool);

// tr((T - Q) H (T - Q)^T) for decoded Q [n_rows, n_cols]. Products in float32,
// a chain an element, summed in double.
double GramError(const float* targets, const float* quantized, int64_t n_rows,
                 int64_t n_cols, const float* gram, ThreadPool* pool);

}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_FEEDBACK_H_
