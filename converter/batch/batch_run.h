// `narrow batch` as a function: a release's models, one after another, all
// file types of a model from one read of it, each output validated once.
//
//   BatchOptions options;  options.validate = Validate;
//   const BatchOutcome outcome = RunBatch(plan, options);
//   outcome.models[0].targets[2].status
//
// What is there and whole from a run before is not done again. Killed at any
// moment, the next run goes on; final bytes and report are those of a run
// that was not disturbed.

#ifndef NARROW_CONVERTER_BATCH_BATCH_RUN_H_
#define NARROW_CONVERTER_BATCH_BATCH_RUN_H_

#include "converter/batch/batch_options.h"
#include "converter/batch/release_file.h"

namespace narrow {

// Errors of models and targets are in the outcome; `plan` outlives it.
BatchOutcome RunBatch(const ReleasePlan& plan, const BatchOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_BATCH_RUN_H_
