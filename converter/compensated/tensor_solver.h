// Tensors of a plan solved: all of their matrices, one or an expert each.
//
//   TensorSolver solver(&model, &pool, options);
//   ASSIGN_OR_RETURN(std::vector<SolvedTensor> solved,
//                    solver.Solve({&gate, &up}, stats));
//   std::vector<float> shown = solver.Decode(gate, solved[0].bytes,
//                                            solved[0].scales);
//
// Tensors of one call that see the same input share the factors of its Gram
// matrix. Experts are solved side by side, a thread each, as long as what they
// take in memory allows; larger ones, and dense matrices, one after another by
// all threads. The bytes are the same either way. Belongs to one thread, and
// uses the pool's.

#ifndef NARROW_CONVERTER_COMPENSATED_TENSOR_SOLVER_H_
#define NARROW_CONVERTER_COMPENSATED_TENSOR_SOLVER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calibration/backward/output_moments.h"
#include "calibration/blockwise/layer_stats.h"
#include "converter/compensated/matrix/factor_cache.h"
#include "converter/compensated/matrix/solve_tensor.h"
#include "converter/compensated/solved_store.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"
#include "kernels/quant/device/shared_encoders.h"

namespace narrow {

struct TensorSolverOptions {
  CompensatedOptions solver;
  SolveFn solve;  // SolveCompensated, but for tests
  // Of outputs' gradients; nullptr: outputs are not coupled.
  const OutputMoments* moments = nullptr;
  const std::atomic<bool>* cancelled = nullptr;
  // Where matrices are solved, with the same bytes; none: the processor.
  // `on_device_note` is told what its memory is too short for when the baseline
  // is encoded, by any thread.
  std::optional<Device> device;
  std::function<void(absl::string_view)> on_device_note;
  // What experts solved side by side may take.
  int64_t batch_bytes = int64_t{2} << 30;
};

class TensorSolver {
 public:
  // Pointers must outlive the solver.
  TensorSolver(const Checkpoint* model, ThreadPool* pool,
               const TensorSolverOptions& options)
      : model_(*model), pool_(pool), options_(options) {}

  // The tensors' blocks in the same order, each `output` left 0. A matrix
  // without statistics is encoded plainly. DataLoss names a weight that is not
  // finite.
  absl::StatusOr<std::vector<SolvedTensor>> Solve(
      const std::vector<const PlannedTensor*>& tensors,
      const BlockStats& stats);
  // What a reader of the file will see; `scales`: a matrix's, SolvedTensor's.
  std::vector<float> Decode(const PlannedTensor& planned,
                            absl::Span<const uint8_t> bytes,
                            absl::Span<const float> scales) const;

 private:
  // One matrix's.
  struct Part {
    CompensatedResult result;
    float scale = 1;
    std::string plain_why;
  };

  // Tensors that see one input, and of each tensor its matrices.
  using Group = std::vector<const PlannedTensor*>;
  using Parts = std::vector<std::vector<absl::StatusOr<Part>>>;

  Parts SolveGroup(const Group& group, const BlockStats& stats);
  // Matrix number `matrix` of each tensor.
  void SolveMatrices(const Group& group, int64_t matrix,
                     const BlockStats& stats, ThreadPool* pool, Parts* parts);
  absl::StatusOr<Part> SolvePart(const PlannedTensor& planned, int64_t matrix,
                                 const BlockStats& stats, FactorCache* factors,
                                 ThreadPool* pool);
  static absl::Status FirstError(const Group& group, const Parts& parts);
  static SolvedTensor Join(const PlannedTensor& planned,
                           std::vector<absl::StatusOr<Part>> parts);
  absl::StatusOr<std::vector<float>> ReadMatrix(const PlannedTensor& planned,
                                                int64_t matrix,
                                                ThreadPool* pool) const;
  absl::Status SolveMatrix(const PlannedTensor& planned, int64_t matrix,
                           const LayerStats& stats,
                           const std::vector<float>& weights,
                           FactorCache* factors, ThreadPool* pool, Part* part);
  absl::Status EncodeMatrix(const PlannedTensor& planned, int64_t matrix,
                            const std::vector<float>& weights, ThreadPool* pool,
                            Part* part) const;
  bool SideBySide(const Group& group) const;

  const Checkpoint& model_;
  ThreadPool* const pool_;
  const TensorSolverOptions options_;
  std::unique_ptr<SharedEncoders> encoders_;  // with a device, once needed
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_TENSOR_SOLVER_H_
