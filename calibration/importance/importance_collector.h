// Sums up what goes into linear layers while a model runs.
//
//   ImportanceCollector collector(&model, &pool, window_tokens, 0);
//   RETURN_IF_ERROR(runner->RunBlock(i, &collector, &hidden));
//   ImportanceCollection sums = collector.Collection();
//
// A column's sums are in double and in the order of the rows, so that neither
// threads, nor instruction sets, nor the grouping of windows matter. Tensors
// that always see the same rows (queries, keys and values; gate and up) are
// summed once. Belongs to one thread, and uses the pool's.

#ifndef NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_COLLECTOR_H_
#define NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_COLLECTOR_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "calibration/importance/importance_sums.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"

namespace narrow {

// Sums shared by the tensors that see the same rows.
struct SharedSums {
  std::vector<std::string> names;
  ImportanceSums sums;
};

class ImportanceCollector : public Observer {
 public:
  // Windows have `window_tokens` rows each; the first is number `first_window`
  // in messages. Pointers must outlive the collector.
  ImportanceCollector(const Checkpoint* model, ThreadPool* pool,
                      int64_t window_tokens, int64_t first_window)
      : model_(model),
        pool_(pool),
        window_tokens_(window_tokens),
        first_window_(first_window) {}

  // DataLoss names tensor, window, token and column of a number that is not
  // finite. Among the rows of an expert the number of the window is not known
  // here: bad_expert_input() is set, and the runner's own check of what such a
  // row leads to, later in the block, has it.
  absl::Status OnInput(const LayerInput& input) override;

  // The same of rows that lie on a device, which adds to the sums itself. Where
  // a number is not finite, its row and column are not known.
  absl::StatusOr<ColumnSums> SumsOf(const LayerInput& input) override;
  absl::Status OnSums(const LayerInput& input) override;

  // Empty, or the first expert whose input was not finite.
  const std::string& bad_expert_input() const { return bad_expert_input_; }

  // To be kept and continued later; see importance_state.h.
  const std::vector<SharedSums>& shared() const { return shared_; }
  void Restore(std::vector<SharedSums> shared);

  // The sums by tensor; chunk_size is window_tokens, n_chunks and datasets are
  // left to the caller.
  ImportanceCollection Collection() const;

 private:
  // The rows of the last call, for the tensors that see them too.
  struct Seen {
    const float* rows = nullptr;
    int64_t n_rows = 0, n_cols = 0;
    int expert = -1;
    size_t index = 0;
  };

  // Where the input's sums are; nothing if they have its rows already.
  absl::StatusOr<ImportanceSums*> Place(const LayerInput& input);
  // Rows that are in the sums now: counts them, and checks the sums.
  absl::Status Count(const LayerInput& input, const float* host_rows);
  absl::Status CheckShape(const SharedSums& shared, absl::string_view name,
                          int64_t matrix, int64_t n_cols) const;
  absl::StatusOr<size_t> IndexOf(absl::string_view name, bool same_rows);
  void Add(const float* rows, int64_t n_rows, double* sum, double* sum_sq,
           int64_t n_cols);
  absl::Status NotFiniteAt(absl::string_view name, const float* rows,
                           int64_t n_rows, int64_t n_cols,
                           int64_t n_before) const;

  const Checkpoint* const model_;
  ThreadPool* const pool_;
  const int64_t window_tokens_;
  const int64_t first_window_;
  std::vector<SharedSums> shared_;
  std::unordered_map<std::string, size_t> index_;  // into shared_
  Seen seen_;
  std::string bad_expert_input_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_COLLECTOR_H_
