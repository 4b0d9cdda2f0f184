// What a model says of each scored token of a text.
//
//   ASSIGN_OR_RETURN(auto windows, PlanWindows(ids.size(), settings));
//   ASSIGN_OR_RETURN(TextScores scores,
//                    ScoreText(text, windows, {}, runner.get(), progress));
//
// Windows go through the model in groups, as many as the memory for their
// hidden states allows: one decoding of a block's weights serves the whole
// group. Scores are those of the runner, which are the same for any grouping
// and number of threads; they are kept, one a token, for every measure taken
// of one model or of two.

#ifndef NARROW_VALIDATE_SCORE_TEXT_H_
#define NARROW_VALIDATE_SCORE_TEXT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/model_runner.h"
#include "validate/divergence.h"
#include "validate/windows.h"

namespace narrow {

// A text as tokens.
struct TextTokens {
  std::vector<int32_t> ids;
  // Takes the place of token 0 of every window, when set.
  std::optional<int32_t> window_bos;
};

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

struct ScoreProgress {
  int64_t windows_done = 0;  // whole groups of them
  int64_t windows_total = 0;
  // Tokens through the model, counted by the share of the work done within
  // the present group.
  int64_t tokens_done = 0;
  int64_t tokens_total = 0;
  double tokens_per_second = 0;
  double seconds_left = 0;
};

// Called on the calling thread at the beginning and after each block. May be
// empty.
using ScoreProgressFn = std::function<void(const ScoreProgress&)>;

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
