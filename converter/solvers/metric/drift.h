// The weights to aim at where the inputs of a matrix come from a model
// quantized so far.
//
//   DriftProblem problem = {name, weights, n_rows, n_cols, &stats, &pool};
//   std::vector<float> targets(weights, weights + n_rows * n_cols);
//   ASSIGN_OR_RETURN(std::string note, CorrectDrift(problem, &targets));
//
// With z the input as it is now, x as it was in the original model, r and s
// the residual stream just before the output W z is added to it, in the
// original and now: the weights W* whose output on z is nearest to W x plus a
// share of r - s are
//
//   W* = W + (drift * W K + residual * D) (H + lambda)^-1,
//   H = sum z z^T, K = sum (x - z) z^T, D = sum (r - s) z^T.
//
// It is a regression on the calibration text and can fit its noise, so
//   - lambda is `damping` times the mean of H's diagonal (doubled until
//     there is a factor),
//   - where rows were held out of the sums, the whole correction is scaled by
//     the share in 0 ... 1 that leaves the least error on those,
//   - no row's correction moves its output by more than half of that output:
//     it is scaled down to that. (With a gain near 0 behind a layer targets are
//     absurd, and ruin a norm that all rows share.)
// Sources: Li et al., "GPTAQ" (arXiv 2504.02692); Zhang et al., "Qronos"
// (arXiv 2505.11695); the residual's part and the limits are ours.
//
// Tested by solver_test.cc, compensated/matrix/solve_tensor_test.cc and
// device/device_drift_test.cc.

#ifndef NARROW_CONVERTER_SOLVERS_METRIC_DRIFT_H_
#define NARROW_CONVERTER_SOLVERS_METRIC_DRIFT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/blockwise/layer_stats.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"

namespace narrow {

// Borrows everything.
struct DriftProblem {
  absl::string_view name;          // for messages
  const float* weights = nullptr;  // [n_rows, n_cols]
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  const LayerStats* stats = nullptr;  // with gram; cross, residual, held_out
  ThreadPool* pool = nullptr;
  // Shares of the drift of the inputs and of the residual stream's own that
  // are corrected, where `stats` has the moments.
  double drift = 1;
  double residual = 0;
  double damping = 0.1;
  // Where factor, products and rows through the factor are computed, with the
  // processor's bits; nullptr: the processor, and where its memory is short.
  const Device* device = nullptr;
};

// Whether statistics and shares ask for a correction at all.
bool WantsCorrection(const DriftProblem& problem);

// Moves `targets`, which are the problem's weights; returns what was done, for
// people. InvalidArgument for moments of another size; DataLoss for ones that
// are not finite. REQUIRES: WantsCorrection; a finite Gram matrix.
absl::StatusOr<std::string> CorrectDrift(const DriftProblem& problem,
                                         std::vector<float>* targets);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_METRIC_DRIFT_H_
