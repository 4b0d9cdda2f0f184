// What models came to on multiple-choice tasks, for people and for programs.
//
//   TaskReport report = BeginTaskReport(task, tokens);  // measure_task.h
//   AddTaskModel(task, scores, model_path, &report);  // the reference first
//   std::fputs(RenderTaskReports({report}).c_str(), stdout);
//   AddTaskReportsJson({report}, {}, &json);
//
// Plain values.

#ifndef NARROW_VALIDATE_TASKS_TASK_REPORT_H_
#define NARROW_VALIDATE_TASKS_TASK_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/json/json_writer.h"
#include "validate/estimate.h"

namespace narrow {

// A candidate's metric against the reference's, question by question.
struct PairedTaskMetric {
  // candidate - reference in 0 … 1, with its standard error over questions.
  // NaN error for one question.
  Estimate difference;
  // Of metrics that are right or wrong: questions that the reference alone has
  // right, and those that the candidate alone has; the two-sided exact
  // p-value of McNemar's test, 1 where no question changed.
  int64_t n_lost = 0;
  int64_t n_gained = 0;
  double mcnemar_p = 1;
};

struct TaskMetric {
  // "acc", "acc_norm" as lm-evaluation-harness names them, "acc_token" (mean
  // log-probability of a token, as llama-perplexity), "mc1", "mc2".
  std::string name;
  bool right_or_wrong = true;  // else a share of probability, as mc2
  double value = 0;            // mean over questions, 0 … 1
  double error = 0;            // its standard error
  // 95 %: Wilson's interval if right_or_wrong, else value ± 1.96 errors.
  double low = 0;
  double high = 0;
  int64_t n_right = 0;  // if right_or_wrong
  std::optional<PairedTaskMetric> paired;
};

// Questions of one subject (MMLU) by the task's first metric.
struct TaskGroup {
  std::string name;
  int64_t n_questions = 0;
  double value = 0;
};

// One question; choices in the order of the file.
struct QuestionResult {
  std::string id;  // as the file has it, else empty
  std::string file;
  int64_t line = 0;  // of the file, or the element of a JSON array, from 1
  int64_t gold = 0;
  // Natural log of the probability of each choice.
  std::vector<double> log_probs;
  // For each metric of the task: 1 or 0, or a share; and the choice it takes
  // (-1 where it takes none).
  std::vector<double> values;
  std::vector<int64_t> chosen;
};

struct TaskModelReport {
  std::string path;
  // The first is the one that is usually published for the task, and the one
  // a gate judges.
  std::vector<TaskMetric> metrics;
  std::vector<TaskGroup> groups;  // where the task has more than one subject
  double seconds = 0;
  double tokens_per_second = 0;
  std::vector<QuestionResult> questions;
};

struct TaskReport {
  std::string name;    // as asked for, else the layout's
  std::string layout;  // "hellaswag", "mmlu", …
  std::vector<std::string> files;
  int64_t n_in_files = 0;   // questions that the files have
  int64_t n_questions = 0;  // of them asked
  int64_t n_shots = 0;      // worked examples before each
  std::string few_shot_path;
  std::vector<std::string> warnings;
  std::vector<TaskModelReport> models;  // the first is the reference
};

struct TaskJsonOptions {
  bool questions = false;  // also what each question came to
};

// The reports as one JSON array, a value of whatever `json` is in.
void AddTaskReportsJson(const std::vector<TaskReport>& reports,
                        const TaskJsonOptions& options, JsonWriter* json);

// A table with a row for each task, metric and model.
std::string RenderTaskReports(const std::vector<TaskReport>& reports);

}  // namespace narrow

#endif  // NARROW_VALIDATE_TASKS_TASK_REPORT_H_
