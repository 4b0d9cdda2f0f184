// What became of a release: a table for people, a report without times or
// paths of a machine, and an exit code.

#ifndef NARROW_CONVERTER_BATCH_BATCH_REPORT_H_
#define NARROW_CONVERTER_BATCH_BATCH_REPORT_H_

#include <string>

#include "converter/batch/batch_run.h"

namespace narrow {

// A line a target: size, bits, figures of the first text, verdict, and
// whether it was written now; errors below.
std::string BatchTable(const BatchOutcome& outcome);

// The same for any number of interruptions.
std::string BatchJson(const BatchOutcome& outcome);

// Targets that failed; whose gate failed; whose gate needs more text.
struct BatchCounts {
  int n_targets = 0;
  int n_errors = 0;
  int n_gate_failed = 0;
  int n_undecided = 0;
};
BatchCounts CountOutcome(const BatchOutcome& outcome);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_BATCH_REPORT_H_
