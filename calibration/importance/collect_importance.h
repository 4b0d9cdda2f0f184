// An importance matrix of a model over a text: windows go through the model in
// groups, block by block, and the inputs of every matrix are summed up.
//
//   ImportanceOptions options;
//   options.state_path = "imatrix.gguf.state";
//   ASSIGN_OR_RETURN(CollectedImportance result,
//                    CollectImportance(*model, ids, bos, options, progress));
//   ... write result.sums, then RemoveImportanceState(options.state_path) ...
//
// The sums depend neither on threads nor on the grouping nor on a restart in
// between; between instruction sets they may differ in the last digits, as
// matrix products do. Memory is a group's hidden states, the decoded weights
// that RunnerOptions allows and the sums.

#ifndef NARROW_CALIBRATION_IMPORTANCE_COLLECT_IMPORTANCE_H_
#define NARROW_CALIBRATION_IMPORTANCE_COLLECT_IMPORTANCE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/importance/importance_sums.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

struct ImportanceOptions {
  int64_t window_tokens = 512;
  int64_t first_window = 0;  // the number of the first window, for messages
  // Also the output matrix: output.weight, or token_embd.weight where the two
  // are one, which is the name that quantizers look up then.
  bool output_matrix = false;
  // Also how well the second half of each window is predicted. The products
  // with the output matrix can cost as much as all blocks.
  bool perplexity = false;
  // Bound on the hidden states of a group; a group has one window at least.
  int64_t hidden_bytes = int64_t{256} << 20;
  // A group's windows, at most; < 1: as above, and as many as take about
  // `save_seconds`, so that little is lost when a run is stopped.
  int64_t group_windows = 0;
  // Where the sums are kept between groups; empty: nowhere.
  std::string state_path;
  double save_seconds = 60;
  // Looked at between blocks; Cancelled once it is true. May be null.
  const std::atomic<bool>* cancelled = nullptr;
  RunnerOptions runner;
};

struct ImportancePerplexity {
  double perplexity = 0;
  double standard_error = 0;
  int64_t n_scored = 0;
};

struct CollectedImportance {
  // chunk_size and n_chunks are those of the windows; no datasets.
  ImportanceCollection sums;
  std::optional<ImportancePerplexity> perplexity;
  int64_t n_resumed = 0;  // windows that an earlier run had done
  double seconds = 0;     // of this run, in the model
  std::vector<std::string> warnings;
};

// Windows through the model so far, fractions within a group.
using ImportanceProgressFn = std::function<void(double windows_done)>;

// `ids` are whole windows. If `window_bos` is set, it takes the place of token
// 0 of each. InvalidArgument for ids that the model does not have; DataLoss
// names the tensor, the window and the token of a number that is not finite.
absl::StatusOr<CollectedImportance> CollectImportance(
    const Checkpoint& model, absl::Span<const int32_t> ids,
    std::optional<int32_t> window_bos, const ImportanceOptions& options,
    const ImportanceProgressFn& progress);

// Forgets what a stopped run had done; nothing if there is no such file.
absl::Status RemoveImportanceState(const std::string& state_path);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_IMPORTANCE_COLLECT_IMPORTANCE_H_
