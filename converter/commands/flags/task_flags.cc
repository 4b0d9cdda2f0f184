// Tested by: task_flags_test.

#include "converter/commands/flags/task_flags.h"

#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "validate/tasks/layouts/layout.h"

namespace narrow {
namespace {

// As MMLU has it, whose dev files hold five.
constexpr int64_t kDefaultShots = 5;

// The name of the file, without folder and ending.
std::string StemOf(const std::string& path) {
  return std::filesystem::path(path).stem().string();
}

bool TakesExamples(const TaskRequest& request) {
  const TaskLayout* layout = FindTaskLayout(request.layout);
  return layout == nullptr || layout->takes_examples;
}

// The requests that one --few-shot is for.
absl::Status AddExamples(const std::string& flag, int64_t n_shots,
                         std::vector<TaskRequest>* requests) {
  ASSIGN_OR_RETURN(const TaskRequest few_shot, ParseTaskFlag(flag));
  bool used = false;
  for (TaskRequest& request : *requests) {
    const bool meant = few_shot.name.empty() ? TakesExamples(request)
                                             : few_shot.name == request.name;
    if (!meant) {
      continue;
    }
    if (!request.few_shot_path.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--few-shot names worked examples twice for the task ",
                       QuotedName(request.name)));
    }
    request.few_shot_path = few_shot.path;
    request.n_shots = n_shots;
    used = true;
  }
  if (!used) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no task takes the worked examples of --few-shot ", QuotedName(flag)));
  }
  return absl::OkStatus();
}

}  // namespace

void AddTaskFlags(CLI::App* command, TaskFlags* flags) {
  command
      ->add_option("--task", flags->tasks,
                   "multiple-choice questions, repeatable: FILE, or NAME=FILE "
                   "where NAME may be a layout (hellaswag, arc, mmlu, "
                   "truthfulqa, winogrande, wmdp), which is found out "
                   "otherwise; a folder stands for all its files")
      ->type_name("[NAME=]FILE")
      ->allow_extra_args(false);
  command
      ->add_option("--tasks", flags->n_questions,
                   "ask N questions of each task (default: all), chosen as "
                   "llama-perplexity chooses HellaSwag's")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command
      ->add_option("--few-shot", flags->few_shot,
                   "worked examples before each question, a file or folder of "
                   "the task's layout (MMLU's dev), for all tasks or one")
      ->type_name("[NAME=]FILE")
      ->allow_extra_args(false);
  command
      ->add_option("--shots", flags->n_shots,
                   "so many of them, the first of the question's subject "
                   "(default: 5)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}));
  command->add_flag("--task-questions", flags->questions_in_json,
                    "with --json: also what each question came to");
}

absl::StatusOr<std::vector<TaskRequest>> TaskRequestsFromFlags(
    const TaskFlags& flags) {
  std::vector<TaskRequest> requests;
  std::set<std::string> names;
  for (const std::string& flag : flags.tasks) {
    ASSIGN_OR_RETURN(TaskRequest request, ParseTaskFlag(flag));
    request.max_questions = flags.n_questions;
    // A single task has the name of its layout.
    if (request.name.empty() && flags.tasks.size() > 1) {
      request.name = StemOf(request.path);
    }
    if (!names.insert(request.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two tasks have the name ", QuotedName(request.name),
                       "; give them others, as in --task other=FILE"));
    }
    requests.push_back(std::move(request));
  }
  if (flags.few_shot.empty() && flags.n_shots > 0) {
    return absl::InvalidArgumentError(
        "--shots needs a file of worked examples, --few-shot");
  }
  const bool any_flag = flags.n_questions > 0 || flags.questions_in_json;
  if (requests.empty() && (any_flag || !flags.few_shot.empty())) {
    return absl::InvalidArgumentError(
        "--tasks, --few-shot, --shots and --task-questions need a task, "
        "--task");
  }
  for (const std::string& flag : flags.few_shot) {
    RETURN_IF_ERROR(AddExamples(
        flag, flags.n_shots > 0 ? flags.n_shots : kDefaultShots, &requests));
  }
  return requests;
}

}  // namespace narrow
