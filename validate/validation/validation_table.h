// A validation as tables, for people: a row a candidate; then every figure of
// llama-perplexity's --kl-divergence table, under its names, with a column a
// candidate; then the verdicts.
//
//   std::fputs(RenderValidation(report).c_str(), stdout);

#ifndef NARROW_VALIDATE_VALIDATION_VALIDATION_TABLE_H_
#define NARROW_VALIDATE_VALIDATION_VALIDATION_TABLE_H_

#include <string>

#include "validate/validation.h"

namespace narrow {

// Without tasks' tables (tasks/task_report.h) and warnings.
std::string RenderValidation(const ValidationReport& report);

// A criterion's limit or bound as its flag takes it: "1 %", "0.05".
std::string CriterionText(Criterion criterion, double value);

}  // namespace narrow

#endif  // NARROW_VALIDATE_VALIDATION_VALIDATION_TABLE_H_
