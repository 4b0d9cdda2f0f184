// The log-probabilities that a model gives the choices of a task.
//
//   ASSIGN_OR_RETURN(TaskScores scores,
//                    ScoreTask(tokens, {}, runner.get(), progress));
//
// Windows go through the model in groups of about one length, filled up at
// their ends: later tokens do not reach earlier ones. Groups follow from the
// task alone, so scores are the same for any number of threads.

#ifndef NARROW_VALIDATE_TASKS_SCORE_TASK_H_
#define NARROW_VALIDATE_TASKS_SCORE_TASK_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "calibration/model_runner.h"
#include "validate/score_text.h"
#include "validate/tasks/tokenize_task.h"

namespace narrow {

struct ChoiceScore {
  double log_prob = 0;    // natural log of the choice's probability
  double token_mean = 0;  // mean over the tokens in which choices differ
};

struct TaskScores {
  std::vector<std::vector<ChoiceScore>> questions;  // [question][choice]
  int64_t n_run = 0;  // tokens that went through the model
  double seconds = 0;
};

struct TaskScoreOptions {
  // Bound on the hidden states of a group; a group has one window at least.
  int64_t hidden_bytes = int64_t{256} << 20;
};

// `progress` may be empty; its windows and tokens are those of the task.
// InvalidArgument for an id that the model does not have; DataLoss for a
// log-probability that is not a finite number.
absl::StatusOr<TaskScores> ScoreTask(const TokenizedTask& task,
                                     const TaskScoreOptions& options,
                                     ModelRunner* runner,
                                     const ScoreProgressFn& progress);

}  // namespace narrow

#endif  // NARROW_VALIDATE_TASKS_SCORE_TASK_H_
