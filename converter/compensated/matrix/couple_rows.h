// The outputs of a layer weigh together.
//
//   CoupleProblem problem = {codec, targets, n_rows, n_cols, gram, moments,
//                            solve, {}, &pool};
//   CoupleResult r = CoupleRows(problem, bytes);
//
// Where H_O = <g g^T>, g the gradient of the loss at the layer's outputs, is
// known, the loss moves by tr(H_O E H E^T) to second order, not by the sum of
// the rows' own errors: an error in one row can make up for another's. With
// H_O = R R^T, R upper triangular, that is the sum over rows s of
//
//   R[s, s]^2 u_s H u_s^T,    u_s = e_s + sum over k < s of (R[k, s] /
//                                   R[s, s]) e_k,     e = q - t,
//
// so that rows are solved one after another, each for what those before it
// leave to be made up for: error feedback over rows, as over columns. Rows are
// solved in batches, whose members know nothing of each other. The last row's
// price is all of H_O[s, s], the first one's what no row behind it can make up
// for: so rows come in falling order of H_O[s, s] times what the given blocks
// miss.
//
// Then, given all others, what row b should aim at is
//
//   t_b - sum over r != b of (H_O[b, r] / H_O[b, b]) e_r.
//
// Batches descend towards that from where they are (their errors taken as they
// were before; by all of the way, half or a quarter of it, as far as helps),
// and a batch is kept only where the whole form falls: 2 tr(H_O[B, :] E H d^T)
// + tr(H_O[B, B] d H d^T) < 0, d what the batch moved by. Two passes, codes
// alone in the first. H_O is damped by a tenth of its mean diagonal.
//
// Sources: the form is that of Kronecker-factored curvature (Martens and
// Grosse, "K-FAC", 2015); feedback on both sides of it: Tseng et al., "Model-
// Preserving Adaptive Rounding" (2025), whose rounding has no fields to fit.
//
// Measured on tiny-llama, 40 windows of wiki.test.raw, KL divergence over the
// imatrix file's, Q2_K, Q4_0: passes alone, neighbours in one batch 0.270,
// 0.259; in different ones 0.265, 0.265; feedback over batches of 32 0.256,
// 0.231; of 16 0.229, 0.218; of 8 0.223, 0.213; with moments by the size of
// inputs 0.226, 0.216; then in falling order 0.225, 0.207.
//
// Tested by solve_tensor_test.cc.

#ifndef NARROW_CONVERTER_COMPENSATED_MATRIX_COUPLE_ROWS_H_
#define NARROW_CONVERTER_COMPENSATED_MATRIX_COUPLE_ROWS_H_

#include <cstdint>
#include <functional>

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
  // Blocks for targets [n_rows, n_cols] of rows that are independent, in the
  // place of those in `bytes`.
  std::function<void(const float* targets, int64_t n_rows, uint8_t* bytes)>
      solve;
  DescendOptions descend;
  ThreadPool* pool = nullptr;
};

struct CoupleResult {
  bool fed = false;       // feedback was better than what there was
  int64_t n_batches = 0;  // tried, descending
  int64_t n_kept = 0;
  // tr(H_O E H E^T) before and after, H_O damped.
  double before = 0;
  double after = 0;
};

// Improves `bytes`, all rows' blocks. REQUIRES: finite moments with a mean
// diagonal above 0.
CoupleResult CoupleRows(const CoupleProblem& problem, uint8_t* bytes);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_MATRIX_COUPLE_ROWS_H_
