// One pass of candidates over windows of a text, side by side: each of their
// positions is compared with the reference's. Every output matrix is applied
// once, the reference's too, and no more than a slice of logits is held.
//
//   std::vector<ComparedModel> models = {{path, runner, &scores}, ...};
//   RETURN_IF_ERROR(CompareWindows(text, windows, end, options, reference,
//                                  progress, absl::MakeSpan(models)));
//
// Windows go in groups: each candidate in turn runs over a group's windows,
// and its final hidden states are kept; then, slice after slice of tokens, the
// reference's logits are made, and each candidate's after them.

#ifndef NARROW_VALIDATE_REFERENCE_COMPARE_PASS_H_
#define NARROW_VALIDATE_REFERENCE_COMPARE_PASS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "calibration/model_runner.h"
#include "validate/measures/paired_scores.h"
#include "validate/reference/reference.h"
#include "validate/reference/window_pass.h"

namespace narrow {

struct ComparePassOptions {
  // Of all candidates' hidden states together; one window of each at least.
  int64_t hidden_bytes = int64_t{256} << 20;
  // Bound on the logits of the reference and one candidate; one row of each
  // at least.
  int64_t logits_bytes = int64_t{256} << 20;
  // Decoded output matrices that are kept from slice to slice, where there
  // are several candidates; the others are decoded again for each.
  int64_t output_bytes = int64_t{2} << 30;
};

// Everything is borrowed.
struct ComparedModel {
  std::string name;  // for messages
  ModelRunner* runner = nullptr;
  PairedScores* scores = nullptr;
  double seconds = 0;  // added to: what was spent in the model
};

// Windows [scores->window_sizes.size(), end) of `windows` are run and added to
// `scores`. DataLoss, naming model, window and position, for a loss or
// divergence that is not a finite number. What a model's scores become does
// not depend on the others. REQUIRES: `models` is not empty, and all have as
// many windows; the reference has these windows.
absl::Status CompareWindows(const TextTokens& text,
                            absl::Span<const ScoredWindow> windows, int64_t end,
                            const ComparePassOptions& options,
                            Reference* reference,
                            const ScoreProgressFn& progress,
                            absl::Span<ComparedModel> models);

}  // namespace narrow

#endif  // NARROW_VALIDATE_REFERENCE_COMPARE_PASS_H_
