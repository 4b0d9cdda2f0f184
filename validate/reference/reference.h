// What candidates are compared with, on one text.
//
//   RETURN_IF_ERROR(reference->Prepare(n_windows, progress));
//   RETURN_IF_ERROR(reference->Compare(first_row, targets, logits, n_vocab,
//                                      comparisons));
//
// Belongs to one thread; uses the threads it was given.

#ifndef NARROW_VALIDATE_REFERENCE_REFERENCE_H_
#define NARROW_VALIDATE_REFERENCE_REFERENCE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "validate/measures/paired_scores.h"
#include "validate/reference/window_pass.h"

namespace narrow {

class Reference {
 public:
  virtual ~Reference() = default;

  // Makes the first `n_windows` windows of the text known, those that are not.
  virtual absl::Status Prepare(int64_t n_windows,
                               const ScoreProgressFn& progress) = 0;
  // Compares a candidate's logits, [targets.size(), n_vocab], at the scored
  // positions from `first_row` of all windows on; they are overwritten.
  // REQUIRES: the windows of these positions are prepared.
  virtual absl::Status Compare(int64_t first_row,
                               absl::Span<const int32_t> targets, float* logits,
                               int64_t n_vocab, TokenComparison* results) = 0;
  // Memory that a row takes in Compare, beside the candidate's logits.
  virtual int64_t row_bytes() const = 0;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_REFERENCE_REFERENCE_H_
