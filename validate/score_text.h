// What a model says of each scored token of a text.
//
//   ASSIGN_OR_RETURN(auto windows, PlanWindows(ids.size(), settings));
//   ASSIGN_OR_RETURN(TextScores scores,
//                    ScoreText(text, windows, {}, runner.get(), progress));
//
// Scores are those of the runner, which are the same for any grouping of
// windows (window_pass.h) and number of threads; they are kept, one a token,
// for every measure taken of one model or of two.

#ifndef NARROW_VALIDATE_SCORE_TEXT_H_
#define NARROW_VALIDATE_SCORE_TEXT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/model_runner.h"
#include "validate/measures/divergence.h"
#include "validate/reference/window_pass.h"
#include "validate/windows.h"

namespace narrow {

struct TextScores {
  // One entry a scored token, window after window. Minus the natural log of
  // its probability, and whether it was the most probable one.
  std::vector<double> nll;
  std::vector<int32_t> top_tokens;
  std::vector<bool> is_top;
  // Scored tokens of each window.
  std::vector<int64_t> window_sizes;
  // Divergence from the reference in nats, where one was given.
  std::vector<double> divergences;

  int64_t n_run = 0;   // tokens that went through the model
  double seconds = 0;  // taken by that
};

struct ScoreOptions {
  // Bound on the hidden states of a group; a group has one window at least.
  int64_t hidden_bytes = int64_t{256} << 20;
  // Filled, if not null, with the final hidden states of all scored
  // positions, [n_scored, hidden_size]: what a DivergenceReference needs.
  std::vector<float>* keep_rows = nullptr;
  // What divergences are taken from; may be null.
  const DivergenceReference* reference = nullptr;
};

// REQUIRES: `windows` lie within the text. InvalidArgument for an id that the
// model does not have; DataLoss, naming window and position, for a score that
// is not a finite number.
absl::StatusOr<TextScores> ScoreText(const TextTokens& text,
                                     absl::Span<const ScoredWindow> windows,
                                     const ScoreOptions& options,
                                     ModelRunner* runner,
                                     const ScoreProgressFn& progress);

}  // namespace narrow

#endif  // NARROW_VALIDATE_SCORE_TEXT_H_
