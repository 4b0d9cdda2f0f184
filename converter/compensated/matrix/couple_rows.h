// The outputs of a layer weigh together.
//
//   CoupleProblem problem = {codec, targets, n_rows, n_cols, gram, moments,
//                            {}, &pool};
//   CoupleResult r = CoupleRows(problem, bytes);
//
// Where H_O = <g g^T>, g the gradient of the loss at the layer's outputs, is
// known, the loss moves by tr(H_O E H E^T) to second order, not by the sum of
// the rows' own errors: an error in one row can make up for another's. Given
// all others, what row b should aim at is
//
//   t_b - sum over r != b of (H_O[b, r] / H_O[b, b]) e_r,   e = q - t.
//
// Batches of 32 rows descend towards that from where they are (their errors
// taken as they were before; by all of the way, half or a quarter of it, as far
// as helps), and a batch is kept only where the whole form
// falls: 2 tr(H_O[B, :] E H d^T) + tr(H_O[B, B] d H d^T) < 0, d what the batch
// moved by. Two passes, codes alone in the first. H_O is damped by a tenth of
// its mean diagonal. Source: our own; the form is that of Kronecker-factored
// curvature (Martens and Grosse, "K-FAC", 2015).
//
// Tested by solve_tensor_test.cc.

#ifndef NARROW_CONVERTER_COMPENSATED_MATRIX_COUPLE_ROWS_H_
#define NARROW_CONVERTER_COMPENSATED_MATRIX_COUPLE_ROWS_H_

#include <cstdint>

#include "formats/base/parallel.h"
#include "kernels/compensated/compensated.h"
#include "kernels/quant/codec.h"

namespace narrow {

// Borrows everything.
struct CoupleProblem {
  const BlockCodec* codec = nullptr;
  const float* targets = nullptr;  // [n_rows, n_cols]
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  const float* gram = nullptr;      // [n_cols, n_cols], damped
  const double* moments = nullptr;  // H_O, [n_rows, n_rows], symmetric
  DescendOptions descend;
  ThreadPool* pool = nullptr;
};

struct CoupleResult {
  int64_t n_batches = 0;  // tried
  int64_t n_kept = 0;
  // tr(H_O E H E^T) before and after, H_O damped.
  double before = 0;
  double after = 0;
};

// Improves `bytes`. REQUIRES: finite moments with a mean diagonal above 0.
CoupleResult CoupleRows(const CoupleProblem& problem, uint8_t* bytes);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_MATRIX_COUPLE_ROWS_H_
