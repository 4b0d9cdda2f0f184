// What candidates are compared with, on one text.
//
//   RETURN_IF_ERROR(reference->Prepare(n_windows, progress));
//   RETURN_IF_ERROR(reference->Load(first_row, targets));
//   for (each candidate)
//     RETURN_IF_ERROR(reference->Compare(logits, n_vocab, comparisons));
//
// Belongs to one thread; uses the threads it was given.

#ifndef NARROW_VALIDATE_REFERENCE_REFERENCE_H_
#define NARROW_VALIDATE_REFERENCE_REFERENCE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/model_runner.h"
#include "validate/measures/paired_scores.h"
#include "validate/reference/window_pass.h"

namespace narrow {

class Reference {
 public:
  virtual ~Reference() = default;

  // Makes the first `n_windows` windows of the text known, those that are not.
  virtual absl::Status Prepare(int64_t n_windows,
                               const ScoreProgressFn& progress) = 0;
  // The scored positions from `first_row` of all windows on, as many as there
  // are targets (borrowed until the next Load), are those that are compared
  // next. REQUIRES: their windows are prepared.
  virtual absl::Status Load(int64_t first_row,
                            absl::Span<const int32_t> targets) = 0;
  // Compares a candidate's logits, [targets.size(), n_vocab], at the loaded
  // positions; they are overwritten.
  virtual absl::Status Compare(float* logits, int64_t n_vocab,
                               TokenComparison* results) = 0;
  // The same of a candidate on the device that the reference is on, whose
  // logits stay there; `states` are its final hidden states. False: they have
  // to come here, for Compare.
  virtual absl::StatusOr<bool> CompareThere(const float* /*states*/,
                                            ModelRunner* /*candidate*/,
                                            TokenComparison* /*results*/) {
    return false;
  }
  // Memory that a loaded row takes, beside candidates' logits.
  virtual int64_t row_bytes() const = 0;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_REFERENCE_REFERENCE_H_
