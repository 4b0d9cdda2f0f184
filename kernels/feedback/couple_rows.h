// The outputs of a layer weigh together.
//
//   CoupleProblem problem = {targets, n_rows, n_cols, gram, moments,
//                            true, true, &pool};
//   CoupleResult r = CoupleRows(problem, &rows);   // a StoredRows of n_rows
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
// for: so rows come in falling order of H_O[s, s] times what they miss to begin
// with.
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
// Tested by couple_rows_test.cc, and with codecs and grids by their solvers'
// tests.

#ifndef NARROW_KERNELS_FEEDBACK_COUPLE_ROWS_H_
#define NARROW_KERNELS_FEEDBACK_COUPLE_ROWS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/types/span.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"
#include "kernels/feedback/feedback.h"

namespace narrow {

// Rows of a matrix as some format holds them, and what a solver does to rows
// that are independent of each other. Belongs to one thread.
class StoredRows {
 public:
  virtual ~StoredRows() = default;

  // Copies of some rows, in that order.
  virtual std::unique_ptr<StoredRows> Take(
      absl::Span<const int64_t> rows) const = 0;
  // Rows `rows` become those of `from`, which Take gave for as many.
  virtual void Put(absl::Span<const int64_t> rows, const StoredRows& from) = 0;
  // What a reader of the file will see, [n_rows, n_cols].
  virtual void Decode(float* values) const = 0;
  // Solved for targets [n_rows, n_cols], from the beginning or from what the
  // rows are, whichever is better.
  virtual void Solve(const float* targets) = 0;
  // Improved from where they are (feedback.h).
  virtual void Descend(const float* targets, const DescendOptions& options) = 0;
};

// Borrows everything.
struct CoupleProblem {
  const float* targets = nullptr;  // [n_rows, n_cols]
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  const float* gram = nullptr;      // [n_cols, n_cols], damped
  const double* moments = nullptr;  // H_O, [n_rows, n_rows], symmetric
  bool refit = true;                // of descent: as DescendOptions has them
  bool sweep = true;
  ThreadPool* pool = nullptr;
  // Where products across rows are taken (couple_products.h); nullptr: the
  // processor.
  const Device* device = nullptr;
};

struct CoupleResult {
  bool fed = false;       // feedback was better than what there was
  int64_t n_batches = 0;  // tried, descending
  int64_t n_kept = 0;
  // tr(H_O E H E^T) before and after, H_O damped.
  double before = 0;
  double after = 0;
  std::string note;  // why a device was left; empty if it was not
};

// Whether moments [n_rows, n_rows] are numbers, some of them above 0 on the
// diagonal.
bool CanCouple(const double* moments, int64_t n_rows);

// Improves all rows of the matrix. REQUIRES: CanCouple.
CoupleResult CoupleRows(const CoupleProblem& problem, StoredRows* rows);

}  // namespace narrow

#endif  // NARROW_KERNELS_FEEDBACK_COUPLE_ROWS_H_
