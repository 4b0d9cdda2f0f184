// A validation as JSON, for programs: everything in it.
//
//   WriteTextFile(path, ValidationJson(report, {}));
//
// Pure function. Names and structure are kept from version to version; new
// ones may be added.

#ifndef NARROW_VALIDATE_VALIDATION_VALIDATION_JSON_H_
#define NARROW_VALIDATE_VALIDATION_VALIDATION_JSON_H_

#include <string>

#include "validate/tasks/task_report.h"
#include "validate/validation.h"

namespace narrow {

// Indented. Numbers that are unknown or infinite (an error of one value, a
// bound of too few windows) are null.
std::string ValidationJson(const ValidationReport& report,
                           const TaskJsonOptions& tasks);

}  // namespace narrow

#endif  // NARROW_VALIDATE_VALIDATION_VALIDATION_JSON_H_
