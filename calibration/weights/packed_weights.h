// Weight matrices decoded and packed for products, kept where they fit.
//
//   PackedWeights weights(&model, &pool, /*max_cached_bytes=*/1 << 30);
//   ASSIGN_OR_RETURN(auto w, weights.Get(block.q.weight, &matmul));
//
// Matrices are kept in the order in which they were first asked for until the
// budget is full; the others are decoded at each request, so that memory is
// bounded by the budget and the matrices in use. Belongs to one thread, and
// uses the pool's.

#ifndef NARROW_CALIBRATION_WEIGHTS_PACKED_WEIGHTS_H_
#define NARROW_CALIBRATION_WEIGHTS_PACKED_WEIGHTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/weights/block_tensors.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "kernels/matmul/matmul.h"

namespace narrow {

class PackedWeights {
 public:
  PackedWeights(const Checkpoint* model, ThreadPool* pool,
                int64_t max_cached_bytes)
      : model_(model),
        pool_(pool),
        max_cached_bytes_(max_cached_bytes),
        budget_(max_cached_bytes) {}

  // Outputs a panel; panels of long rows are narrower, so that a decoded
  // panel stays in cache.
  static int64_t PanelCols(int64_t n_inputs);

  // In panels of PanelCols. `matmul` must outlive the result and this object.
  absl::StatusOr<std::shared_ptr<const PackedMatrix>> Get(
      const WeightRows& weight, Matmul* matmul);
  // The same if it is kept or fits the budget, else nullptr.
  absl::StatusOr<std::shared_ptr<const PackedMatrix>> GetIfKept(
      const WeightRows& weight, Matmul* matmul);

  // Keeps nothing of what was asked for so far.
  void Forget() {
    kept_.clear();
    budget_ = max_cached_bytes_;
  }

  // Decodes rows of `weight` from first_row on into panel `panel` of `matrix`.
  // Safe from any thread; `rows` is working memory.
  absl::Status PackPanel(const WeightRows& weight, int64_t first_row,
                         const Matmul& matmul, int64_t panel,
                         std::vector<float>* rows, PackedMatrix* matrix) const;

 private:
  using Key = std::tuple<const CheckpointTensor*, int64_t, const Matmul*>;

  const Checkpoint* const model_;
  ThreadPool* const pool_;
  const int64_t max_cached_bytes_;
  int64_t budget_;  // what is left of it
  std::map<Key, std::shared_ptr<const PackedMatrix>> kept_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_WEIGHTS_PACKED_WEIGHTS_H_
