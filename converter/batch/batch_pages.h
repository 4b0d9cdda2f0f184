// The pages of a release: for each model that was measured, all its targets.
//
//   RETURN_IF_ERROR(WriteBatchPages(outcome, "out", "narrow batch
//   r.textproto"));
//
// Functions of their arguments and the file system.

#ifndef NARROW_CONVERTER_BATCH_BATCH_PAGES_H_
#define NARROW_CONVERTER_BATCH_BATCH_PAGES_H_

#include <string>

#include "absl/status/status.h"
#include "converter/batch/batch_run.h"

namespace narrow {

// OUT/report.html and report.md, or OUT/report-MODEL.html and .md where the
// release has several models; no times, so the same for any interruptions.
// `command` makes the release again.
absl::Status WriteBatchPages(const BatchOutcome& outcome,
                             const std::string& out,
                             const std::string& command);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_BATCH_PAGES_H_
