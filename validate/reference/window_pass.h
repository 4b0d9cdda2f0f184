// One pass of a model over the windows of a text, up to the final hidden states
// of the positions that are scored.
//
//   RETURN_IF_ERROR(RunWindows(text, windows, hidden_bytes, runner, progress,
//                              [&](const ScoredRows& rows, ...) { ... }));
//
// Windows go through the model in groups, as many as the memory for their
// hidden states allows: one decoding of a block's weights serves the whole
// group. What is made of the rows is the sink's affair: scores, divergences,
// a file.

#ifndef NARROW_VALIDATE_REFERENCE_WINDOW_PASS_H_
#define NARROW_VALIDATE_REFERENCE_WINDOW_PASS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "calibration/model_runner.h"
#include "validate/windows.h"

namespace narrow {

// A text as tokens.
struct TextTokens {
  std::vector<int32_t> ids;
  // Takes the place of token 0 of every window, when set.
  std::optional<int32_t> window_bos;
};

struct ScoreProgress {
  int64_t windows_done = 0;  // whole groups of them
  int64_t windows_total = 0;
  // Tokens through the model, counted by the share of the work done within
  // the present group.
  int64_t tokens_done = 0;
  int64_t tokens_total = 0;
};

// Called on the calling thread at the beginning and after each block. May be
// empty.
using ScoreProgressFn = std::function<void(const ScoreProgress&)>;

// The scored positions of a group of windows, one after another. Borrows, for
// the call it is given to.
struct ScoredRows {
  size_t first_window = 0;  // of those given to RunWindows
  absl::Span<const ScoredWindow> windows;
  // Final hidden states, normed: [n_rows, hidden_size]. Row r is that from
  // which the model predicts token targets[r].
  const float* rows = nullptr;
  int64_t n_rows = 0;
  absl::Span<const int32_t> targets;
};

// Takes the rows; calls `done` with shares of its work, 1 in all, as it
// proceeds.
using RowSink = absl::FunctionRef<absl::Status(
    const ScoredRows&, absl::FunctionRef<void(double)> done)>;

// REQUIRES: `windows` lie within the text. InvalidArgument for an id that the
// model does not have; what the sink returns.
absl::Status RunWindows(const TextTokens& text,
                        absl::Span<const ScoredWindow> windows,
                        int64_t hidden_bytes, ModelRunner* runner,
                        const ScoreProgressFn& progress, RowSink sink);

// The output layer's share of the work on such windows, roughly: a block has
// about 12 hidden_size^2 weights, the output layer vocab_size * hidden_size,
// and only scored tokens reach it. For progress alone.
double HeadShare(const ModelRunner& runner, const ScoredWindow& window);

// Tokens that RunWindows puts through the model.
int64_t TokensOf(absl::Span<const ScoredWindow> windows);

}  // namespace narrow

#endif  // NARROW_VALIDATE_REFERENCE_WINDOW_PASS_H_
