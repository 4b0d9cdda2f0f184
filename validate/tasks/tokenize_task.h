// A task as tokens: the windows that go through a model, and where in them the
// choices are.
//
//   ASSIGN_OR_RETURN(TokenizedTask tokens, TokenizeTask(*reference, task));
//
// A choice is judged by the tokens that its text adds to those of what stands
// before it: both are encoded together, and the first as many tokens as the
// text before has by itself are its own (lm-evaluation-harness). The tokens
// are those of the model's own tokenizer, with BOS where it puts one. Choices
// whose tokens before the last are the beginning of another's share a window:
// the letters of one question cost one.

#ifndef NARROW_VALIDATE_TASKS_TOKENIZE_TASK_H_
#define NARROW_VALIDATE_TASKS_TOKENIZE_TASK_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "formats/arch/checkpoint.h"
#include "formats/tokenizer/tokenizer.h"
#include "validate/tasks/task.h"

namespace narrow {

struct TokenizedChoice {
  size_t window = 0;
  // The output at position begin - 1 + i of the window is about targets[i].
  int64_t begin = 1;
  std::vector<int32_t> targets;
  // The targets from here on are the choice's own; from `first_different` on
  // those after the tokens that all choices of the question begin with.
  size_t first_own = 0;
  size_t first_different = 0;
};

struct TokenizedTask {
  // Without the last token of a choice, about which nothing follows.
  std::vector<std::vector<int32_t>> windows;
  // [question][choice].
  std::vector<std::vector<TokenizedChoice>> questions;
  int64_t n_tokens = 0;  // of all windows
  // Questions whose beginning was left out for the model's context.
  int64_t n_truncated = 0;
};

// By the model's tokenizer; the windows are no longer than its context.
// InvalidArgument if it has none, or for a choice that is longer than the
// context by itself, with line and file.
absl::StatusOr<TokenizedTask> TokenizeTask(const Checkpoint& model,
                                           const Task& task, int n_threads);

// The same with a tokenizer and a bound on a window's tokens (< 1: none).
absl::StatusOr<TokenizedTask> TokenizeTask(const Tokenizer& tokenizer,
                                           int64_t max_window_tokens,
                                           const Task& task, int n_threads);

}  // namespace narrow

#endif  // NARROW_VALIDATE_TASKS_TOKENIZE_TASK_H_
