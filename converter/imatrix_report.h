// What a run of `narrow imatrix` tells people and programs.
//
//   std::fputs(ImatrixSummary(outcome).c_str(), stdout);
//
// Pure functions.

#ifndef NARROW_CONVERTER_IMATRIX_REPORT_H_
#define NARROW_CONVERTER_IMATRIX_REPORT_H_

#include <optional>
#include <string>
#include <vector>

#include "calibration/importance/collect_importance.h"
#include "calibration/importance/importance_coverage.h"
#include "calibration/importance/importance_sums.h"

namespace narrow {

struct ImatrixOutcome {
  std::string out;                               // the file that was written
  std::vector<std::string> combined;             // files that went into it
  ImportanceCollection sums;                     // what it holds
  std::optional<CollectedImportance> collected;  // of a run over a text
  ImportanceCoverage coverage;
  // Tensors of the model that `sums` has no entry for, where there is a model.
  std::vector<std::string> without_entry;
};

// Lines about what was written, how fast, and which experts have no data.
std::string ImatrixSummary(const ImatrixOutcome& outcome);

// {"out", "tensors", "chunks", "chunk_size", "datasets": [], "combined": [],
// "windows", "resumed_windows", "seconds", "perplexity", "standard_error",
// "scored_tokens", "matrices", "matrices_without_data", "without_data":
// [{"tensor", "matrices", "without"}], "without_entry": []}; those from
// "windows" to "scored_tokens" where there was such a run.
std::string ImatrixJson(const ImatrixOutcome& outcome);

}  // namespace narrow

#endif  // NARROW_CONVERTER_IMATRIX_REPORT_H_
