// The flags of commands that judge models on multiple-choice tasks.
//
//   AddTaskFlags(command, &flags);
//   ASSIGN_OR_RETURN(std::vector<TaskRequest> tasks,
//                    TaskRequestsFromFlags(flags));

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_TASK_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_TASK_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "validate/tasks/task.h"

namespace narrow {

struct TaskFlags {
  std::vector<std::string> tasks;
  int64_t n_questions = -1;
  std::vector<std::string> few_shot;
  int64_t n_shots = -1;
  bool questions_in_json = false;
};

// `flags` must outlive the command.
void AddTaskFlags(CLI::App* command, TaskFlags* flags);

// What --task, --tasks, --few-shot and --shots ask for. Worked examples are
// for all tasks that take them, or with NAME=FILE for the task of that name,
// five where no number is given. InvalidArgument for a flag that does not
// parse, a name that no task has, --shots without a file, and two tasks of
// one name.
absl::StatusOr<std::vector<TaskRequest>> TaskRequestsFromFlags(
    const TaskFlags& flags);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_TASK_FLAGS_H_
