#include "validate/measures/compare_logits.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/rows/rows.h"
#include "validate/measures/divergence.h"

namespace narrow {

RowScore ScoreLogits(const float* logits, int64_t n, int32_t target) {
  assert(target >= 0 && target < n);
  const RowKernels& rows = RowKernelsForCpu();
  const float top = rows.max(logits, n);
  RowScore score;
  score.nll = std::log(rows.exp_sum(logits, top, n)) +
              (static_cast<double>(top) - static_cast<double>(logits[target]));
  // A row of NaN alone has no maximum among its elements.
  const float* at = std::find(logits, logits + n, top);
  score.top_token = at == logits + n ? 0 : static_cast<int32_t>(at - logits);
  return score;
}

TokenComparison CompareLogits(float* reference, int64_t n_reference,
                              float* candidate, int64_t n_candidate,
                              int32_t target) {
  const RowScore p = ScoreLogits(reference, n_reference, target);
  const RowScore q = ScoreLogits(candidate, n_candidate, target);
  TokenComparison token;
  token.reference_nll = p.nll;
  token.candidate_nll = q.nll;
  token.same_top = p.top_token == q.top_token;
  token.divergence = DivergenceOfLogits(std::min(n_reference, n_candidate),
                                        reference, candidate);
  return token;
}

}  // namespace narrow
