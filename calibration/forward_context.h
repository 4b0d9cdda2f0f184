// What the parts of a forward pass share, and how they report.
//
// Belongs to one runner; parts use its threads one at a time.

#ifndef NARROW_CALIBRATION_FORWARD_CONTEXT_H_
#define NARROW_CALIBRATION_FORWARD_CONTEXT_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calibration/linear.h"
#include "calibration/model_runner.h"
#include "calibration/weights/packed_weights.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "kernels/matmul/matmul.h"
#include "kernels/rows/rows.h"

namespace narrow {

struct ForwardContext {
  ForwardContext(const Checkpoint* model, ProductType type,
                 const RunnerOptions& options);

  const ModelConfig& config() const { return model->config(); }
  const BlockTraits& traits() const { return model->arch()->traits; }

  const Checkpoint* const model;
  ThreadPool pool;
  const RowKernels& rows;
  // Products of weights in the runner's precision, and those that are always
  // exact: attention's and the router's.
  Matmul products;
  Matmul exact;
  PackedWeights weights;
  RunnerTimes* const times;  // never null
  RunnerTimes unasked_times;
};

// Adds the time until it goes out of scope to `seconds`.
class ScopedTimer {
 public:
  explicit ScopedTimer(double* seconds)
      : seconds_(seconds), start_(std::chrono::steady_clock::now()) {}
  ~ScopedTimer() {
    const std::chrono::duration<double> passed =
        std::chrono::steady_clock::now() - start_;
    *seconds_ += passed.count();
  }
  ScopedTimer(const ScopedTimer&) = delete;
  ScopedTimer& operator=(const ScopedTimer&) = delete;

 private:
  double* const seconds_;
  const std::chrono::steady_clock::time_point start_;
};

// The lowest row noted, from any thread.
class FirstRow {
 public:
  void Note(int64_t row) {
    int64_t seen = row_.load();
    while (row < seen && !row_.compare_exchange_weak(seen, row)) {
    }
  }
  bool found() const { return row_ != kNone; }
  int64_t row() const { return row_; }

 private:
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> row_{kNone};
};

// Whether config.sliding_window applies to a block.
bool IsSliding(const ModelConfig& config, int64_t block);

// DataLoss: `what` is not finite there.
absl::Status NotFinite(const Checkpoint& model, absl::string_view what,
                       int64_t window, int64_t token);

// DataLoss naming `where`, the window and the token of the first hidden state
// that is not finite.
absl::Status CheckFinite(ForwardContext* context, const HiddenStates& hidden,
                         absl::string_view where);

// Shows the observer, if any, the rows that `name` is about to multiply, those
// of tokens from `first_token` on; or those of one expert's tokens. `added_to`:
// the hidden states that the product is added to, or nullptr.
absl::Status Observe(Observer* observer, absl::string_view name,
                     int64_t first_token, const Activations& x,
                     const HiddenStates* added_to = nullptr);
absl::Status ObserveExpert(Observer* observer, absl::string_view name,
                           int expert, absl::Span<const int64_t> tokens,
                           const Activations& x);

// Adds `bias`, if there is one, to the rows of a tile.
void AddBias(const RowKernels& rows, const std::vector<float>& bias,
             const Tile& tile);

// Rows worked on together: whole windows, at least one, so that temporaries
// stay in the last cache.
int64_t WindowsPerStep(const HiddenStates& hidden);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_FORWARD_CONTEXT_H_
