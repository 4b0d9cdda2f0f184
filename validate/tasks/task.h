// A multiple-choice task: questions of local files, as a model is asked them.
//
//   ASSIGN_OR_RETURN(TaskRequest request, ParseTaskFlag("mmlu=test.csv"));
//   request.few_shot_path = "dev.csv";
//   request.n_shots = 5;
//   ASSIGN_OR_RETURN(Task task, LoadTask(request));
//
// Plain values.

#ifndef NARROW_VALIDATE_TASKS_TASK_H_
#define NARROW_VALIDATE_TASKS_TASK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "validate/tasks/layouts/layout.h"

namespace narrow {

struct TaskRequest {
  std::string name;    // for reports; empty: the layout's
  std::string layout;  // empty: found out from the first record
  // A file, or a folder of which all .csv, .json, .jsonl and .txt files are
  // read, in the order of their names.
  std::string path;
  // Worked examples: the first n_shots of this file (or folder) that are of
  // the question's subject and not the question itself.
  std::string few_shot_path;
  int64_t n_shots = 0;
  // So many questions, chosen as llama-perplexity chooses HellaSwag's; < 0:
  // all.
  int64_t max_questions = -1;
};

struct TaskQuestion {
  TaskItem item;
  std::string file;
  int64_t line = 0;   // or the element of a JSON array
  size_t prefix = 0;  // in Task::prefixes
};

struct Task {
  std::string name;
  const TaskLayout* layout = nullptr;
  std::vector<std::string> files;
  int64_t n_in_files = 0;
  int64_t n_shots = 0;
  std::string few_shot_path;
  // What stands before questions: description and worked examples.
  std::vector<std::string> prefixes;
  std::vector<TaskQuestion> questions;  // one at least
};

// Of `--task`: "FILE", "NAME=FILE". A name that is a layout's fixes the
// layout, too. InvalidArgument for an empty part.
absl::StatusOr<TaskRequest> ParseTaskFlag(absl::string_view text);

// InvalidArgument, with line and file: a record that is not of the layout, a
// question without its right answer or with fewer than two choices, too few
// worked examples; examples for a layout that takes none. NotFound for a file.
absl::StatusOr<Task> LoadTask(const TaskRequest& request);

// `n_chosen` of 0 … n - 1, rising: those that llama-perplexity takes of n
// HellaSwag tasks (std::mt19937 seeded with 1, whose numbers libstdc++ maps
// onto what is left; each chosen one is taken out), so that figures of both
// programs are of the same questions. REQUIRES: 0 <= n_chosen <= n.
std::vector<int64_t> ChooseQuestions(int64_t n, int64_t n_chosen);

}  // namespace narrow

#endif  // NARROW_VALIDATE_TASKS_TASK_H_
