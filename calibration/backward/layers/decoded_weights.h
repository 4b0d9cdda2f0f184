// Weight matrices as plain rows of float32, for products with gradients:
// g W, where the forward pass has x W^T (calibration/weights/packed_weights.h).
//
//   DecodedWeights weights(&model, &pool, /*max_kept_bytes=*/1 << 30);
//   ASSIGN_OR_RETURN(auto w, weights.Get({block.q.weight, block.k.weight}));
//   Gemm(&pool, Update::kSet, n_rows, w->n_cols, w->n_rows, ...);
//
// Matrices are kept in the order in which they were first asked for until the
// budget is full; the others are decoded at each request. Belongs to one
// thread, and uses the pool's.

#ifndef NARROW_CALIBRATION_BACKWARD_LAYERS_DECODED_WEIGHTS_H_
#define NARROW_CALIBRATION_BACKWARD_LAYERS_DECODED_WEIGHTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/weights/block_tensors.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"

namespace narrow {

struct DecodedMatrix {
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  std::vector<float> values;  // [n_rows, n_cols]
};

class DecodedWeights {
 public:
  DecodedWeights(const Checkpoint* model, ThreadPool* pool,
                 int64_t max_kept_bytes)
      : model_(model),
        pool_(pool),
        max_kept_bytes_(max_kept_bytes),
        budget_(max_kept_bytes) {}

  // The rows of all parts, one below the other. REQUIRES: parts of one width.
  absl::StatusOr<std::shared_ptr<const DecodedMatrix>> Get(
      absl::Span<const WeightRows> parts);
  // One matrix if it is kept or fits the budget, else nullptr.
  absl::StatusOr<std::shared_ptr<const DecodedMatrix>> GetIfKept(
      const WeightRows& weight);
  // Rows [first, first + n) of one matrix, nowhere kept.
  absl::Status ReadRowsOf(const WeightRows& weight, int64_t first, int64_t n,
                          float* out);

  // One row, from any thread.
  absl::Status ReadRow(const WeightRows& weight, int64_t row, float* out) const;

  // Keeps nothing of what was asked for so far.
  void Forget() {
    kept_.clear();
    budget_ = max_kept_bytes_;
  }

 private:
  // Of the first part.
  using Key = std::pair<const CheckpointTensor*, int64_t>;

  const Checkpoint* const model_;
  ThreadPool* const pool_;
  const int64_t max_kept_bytes_;
  int64_t budget_;  // what is left of it
  std::map<Key, std::shared_ptr<const DecodedMatrix>> kept_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BACKWARD_LAYERS_DECODED_WEIGHTS_H_
