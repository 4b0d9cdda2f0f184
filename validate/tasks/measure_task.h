// Models judged on multiple-choice tasks.
//
//   ASSIGN_OR_RETURN(Task task, LoadTask(request));
//   ASSIGN_OR_RETURN(TokenizedTask tokens, TokenizeTask(*reference, task, 0));
//   TaskReport report = BeginTaskReport(task, tokens);
//   for (each model, the reference first) {
//     ASSIGN_OR_RETURN(TaskScores scores, ScoreTask(tokens, {}, runner, {}));
//     AddTaskModel(task, scores, path, &report);
//   }
//
// All models are asked with the reference's tokens, so that their answers can
// be paired; their vocabularies must be equal for that (CheckSameVocabulary).

#ifndef NARROW_VALIDATE_TASKS_MEASURE_TASK_H_
#define NARROW_VALIDATE_TASKS_MEASURE_TASK_H_

#include <string>

#include "validate/tasks/score_task.h"
#include "validate/tasks/task.h"
#include "validate/tasks/task_report.h"
#include "validate/tasks/tokenize_task.h"

namespace narrow {

// A report of the task without models yet.
TaskReport BeginTaskReport(const Task& task, const TokenizedTask& tokens);

// Adds what a model came to, compared with the first one that was added.
// REQUIRES: the scores are of this task.
void AddTaskModel(const Task& task, const TaskScores& scores,
                  const std::string& path, TaskReport* report);

}  // namespace narrow

#endif  // NARROW_VALIDATE_TASKS_MEASURE_TASK_H_
