// The weights to aim at where the inputs of a matrix come from a model
// quantized so far.
//
//   std::vector<float> targets(weights);
//   ASSIGN_OR_RETURN(std::string note, CorrectTarget(problem, &targets));
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
//   - lambda is drift_damping times the mean of H's diagonal (doubled until
//     there is a factor),
//   - where rows were held out of the sums, the whole correction is scaled by
//     the share in 0 ... 1 that leaves the least error on those,
//   - no row's correction moves its output by more than half of that output:
//     it is scaled down to that. (With a gain near 0 behind a layer targets are
//     absurd, and ruin a norm that all rows share.)
// Sources: Li et al., "GPTAQ" (arXiv 2504.02692); Zhang et al., "Qronos"
// (arXiv 2505.11695); the residual's part and the limits are ours.
//
// Tested by solve_tensor_test.cc.

#ifndef NARROW_CONVERTER_COMPENSATED_DRIFT_TARGET_H_
#define NARROW_CONVERTER_COMPENSATED_DRIFT_TARGET_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/compensated/solve_tensor.h"

namespace narrow {

// Whether the statistics and options ask for a correction at all.
bool WantsCorrection(const CompensatedProblem& problem);

// Moves `targets`, which are the problem's weights; returns what was done, for
// people. InvalidArgument for moments of another size; DataLoss for ones that
// are not finite. REQUIRES: WantsCorrection; a finite Gram matrix whose mean
// diagonal is above 0.
absl::StatusOr<std::string> CorrectTarget(const CompensatedProblem& problem,
                                          std::vector<float>* targets);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_DRIFT_TARGET_H_
