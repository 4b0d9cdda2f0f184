#include "validate/measures/compare_logits.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/rows/rows.h"

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

TokenComparison ComparisonOf(const LogitTerms& terms) {
  const auto nll = [](const row_threads::SoftmaxTerms& of) {
    return std::log(of.sum) +
           (static_cast<double>(of.top) - static_cast<double>(of.target_logit));
  };
  TokenComparison token;
  token.reference_nll = nll(terms.p);
  token.candidate_nll = nll(terms.q);
  token.same_top = terms.p.top_token == terms.q.top_token;
  token.divergence = DivergenceOfTerms(terms);
  return token;
}

void ReferenceRow::Load(const float* logits, int64_t n, int32_t target) {
  logits_ = logits;
  n_ = n;
  target_ = target;
  score_ = ScoreLogits(logits, n, target);
  exps_.clear();
}

TokenComparison ReferenceRow::Compare(float* candidate, int64_t n) {
  const size_t n_common = static_cast<size_t>(std::min(n, n_));
  if (exps_.size() != n_common) {
    exps_.assign(logits_, logits_ + n_common);
    terms_ = ExpInPlace(static_cast<int64_t>(n_common), exps_.data());
  }
  const RowScore q = ScoreLogits(candidate, n, target_);
  TokenComparison token;
  token.reference_nll = score_.nll;
  token.candidate_nll = q.nll;
  token.same_top = score_.top_token == q.top_token;
  token.divergence = DivergenceFrom(static_cast<int64_t>(n_common), logits_,
                                    exps_.data(), terms_, candidate);
  return token;
}

}  // namespace narrow
