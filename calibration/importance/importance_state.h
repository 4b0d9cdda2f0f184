// What a run that collects importance has done so far, as a file, so that a
// stopped run goes on where it was and ends with the same bytes.
//
//   RETURN_IF_ERROR(WriteImportanceState(state, "imatrix.gguf.state"));
//   ASSIGN_OR_RETURN(ImportanceState state,
//                    ReadImportanceState("imatrix.gguf.state"));
//   if (state.fingerprint != fingerprint) ...  // another run's
//
// The file is private to one version of the program: no other reads it.

#ifndef NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_STATE_H_
#define NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_STATE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/importance/importance_collector.h"

namespace narrow {

struct ImportanceState {
  uint64_t fingerprint = 0;  // of model, text and options
  int64_t n_windows = 0;     // done, from the first on
  // Of the text's scored tokens, where perplexity is asked for.
  double nll_sum = 0;
  double nll_squares = 0;
  int64_t n_scored = 0;
  std::vector<SharedSums> shared;
};

// Complete under its name or not at all.
absl::Status WriteImportanceState(const ImportanceState& state,
                                  absl::string_view path);
// DataLoss for a file that is damaged, or that another version wrote;
// InvalidArgument for one of another kind, which is not ours to replace.
absl::StatusOr<ImportanceState> ReadImportanceState(absl::string_view path);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_STATE_H_
