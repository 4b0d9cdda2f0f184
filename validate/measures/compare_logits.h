// Two models' logits of one position, compared; exactly: over the whole
// vocabulary, nothing clipped, sums in double.
//
//   TokenComparison token =
//       CompareLogits(p.data(), p.size(), q.data(), q.size(), right_token);
//
// Where one model has rows for ids that no token has, which converters may
// leave out, each model's probability of the right token is among all of its
// own ids, and the divergence is over the ids that both have. Safe from any
// thread.

#ifndef NARROW_VALIDATE_MEASURES_COMPARE_LOGITS_H_
#define NARROW_VALIDATE_MEASURES_COMPARE_LOGITS_H_

#include <cstdint>

#include "validate/measures/paired_scores.h"

namespace narrow {

// Minus log-softmax of `target`, and which is the most probable token (the
// lowest id of equals).
struct RowScore {
  double nll = 0;
  int32_t top_token = 0;
};

// REQUIRES: 0 <= target < n.
RowScore ScoreLogits(const float* logits, int64_t n, int32_t target);

// Both rows are overwritten. REQUIRES: 0 <= target < both sizes.
TokenComparison CompareLogits(float* reference, int64_t n_reference,
                              float* candidate, int64_t n_candidate,
                              int32_t target);

}  // namespace narrow

#endif  // NARROW_VALIDATE_MEASURES_COMPARE_LOGITS_H_
