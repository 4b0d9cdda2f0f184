// One pass of a candidate over windows of a text, each of its positions
// compared with the reference's as they come: its output matrix is applied
// once, and no more than a slice of logits is held.
//
//   PairedScores scores;
//   RETURN_IF_ERROR(CompareWindows(text, windows, end, options,
//                                  runner, reference, progress, &scores));

#ifndef NARROW_VALIDATE_REFERENCE_COMPARE_PASS_H_
#define NARROW_VALIDATE_REFERENCE_COMPARE_PASS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "calibration/model_runner.h"
#include "validate/measures/paired_scores.h"
#include "validate/reference/reference.h"
#include "validate/reference/window_pass.h"

namespace narrow {

struct ComparePassOptions {
  int64_t hidden_bytes = int64_t{256} << 20;  // see RunWindows
  // Bound on the logits of both models; one row of each at least.
  int64_t logits_bytes = int64_t{256} << 20;
};

// Windows [scores->window_sizes.size(), end) of `windows` are run and added to
// `scores`. DataLoss, naming window and position, for a loss or divergence
// that is not a finite number. REQUIRES: the reference has these windows.
absl::Status CompareWindows(const TextTokens& text,
                            absl::Span<const ScoredWindow> windows, int64_t end,
                            const ComparePassOptions& options,
                            ModelRunner* runner, Reference* reference,
                            const ScoreProgressFn& progress,
                            PairedScores* scores);

}  // namespace narrow

#endif  // NARROW_VALIDATE_REFERENCE_COMPARE_PASS_H_
