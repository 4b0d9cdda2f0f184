// Questions whose choices are listed with letters, of which the model names
// one: MMLU and the sets made after it.

#ifndef NARROW_VALIDATE_TASKS_LAYOUTS_LETTERED_H_
#define NARROW_VALIDATE_TASKS_LAYOUTS_LETTERED_H_

#include <string>

#include "absl/status/statusor.h"
#include "validate/tasks/layouts/layout.h"
#include "validate/tasks/records.h"

namespace narrow {

// Whether a record has a question, choices and an answer in one of these
// forms: a list "choices", columns choice0 … or A … D, or a row without a
// header whose last column is a letter.
bool IsLettered(const Record& record);

// "Question\nA. one\nB. two\nC. three\nD. four\nAnswer:", whose choices are
// the letters; the answer is a letter or a place from 0. The subject is left
// empty.
absl::StatusOr<TaskItem> ReadLettered(const Record& record);

// The line that the harness puts before such questions, with the empty line
// after it; `subject` may be empty.
std::string LetteredDescription(const std::string& subject);

// "high_school_physics_test.csv" in any folder: "high_school_physics".
std::string SubjectOfFile(absl::string_view path);

}  // namespace narrow

#endif  // NARROW_VALIDATE_TASKS_LAYOUTS_LETTERED_H_
