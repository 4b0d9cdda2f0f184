// Two models' logits of one position, compared; exactly: over the whole
// vocabulary, nothing clipped, sums in double.
//
//   ReferenceRow row;  // once
//   row.Load(p.data(), p.size(), right_token);
//   TokenComparison token = row.Compare(q.data(), q.size());  // each candidate
//
// Where one model has rows for ids that no token has, which converters may
// leave out, each model's probability of the right token is among all of its
// own ids, and the divergence is over the ids that both have. A row belongs to
// one thread at a time.

#ifndef NARROW_VALIDATE_MEASURES_COMPARE_LOGITS_H_
#define NARROW_VALIDATE_MEASURES_COMPARE_LOGITS_H_

#include <cstdint>
#include <vector>

#include "calibration/device/compare_logits.h"
#include "validate/measures/divergence.h"
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

// The same of terms that a device found.
TokenComparison ComparisonOf(const LogitTerms& terms);

// What a reference says of one position, ready to be compared with any number
// of candidates: what is of it alone is computed once.
class ReferenceRow {
 public:
  // `logits`, [n], are borrowed and not changed. REQUIRES: 0 <= target < n.
  void Load(const float* logits, int64_t n, int32_t target);
  // `candidate`, [n], is overwritten. REQUIRES: the loaded target < n; the
  // logits that were loaded are still there.
  TokenComparison Compare(float* candidate, int64_t n);

  // Memory of a row of n logits, beside the logits.
  static int64_t n_bytes(int64_t n) {
    return n * static_cast<int64_t>(sizeof(float));
  }

 private:
  const float* logits_ = nullptr;
  int64_t n_ = 0;
  int32_t target_ = 0;
  RowScore score_;
  // Of the first exps_.size() ids: those that the candidate before had.
  std::vector<float> exps_;
  ExpSum terms_;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_MEASURES_COMPARE_LOGITS_H_
