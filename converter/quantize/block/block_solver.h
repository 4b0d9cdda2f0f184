// One block of a calibrated model: scales are moved between its layers (AWQ,
// SmoothQuant), its layers are solved and packed, and the overlay shows what
// the file will compute.
//
//   BlockSolver solver(&input, &plan, &overlay, &pool);
//   ASSIGN_OR_RETURN(BlockOutput out, solver.Solve(block, std::move(stats)));
//
// Everything is in the checkpoint's coordinates. With scales s of a group's
// columns the file holds Q(W s) and, in what feeds the group, norm / s or rows
// / s; the overlay shows Q(W s) / s and leaves norms alone, which computes the
// same. Norms are rounded first, and s is what the rounded norm lacks, so
// rounding a norm costs nothing. Belongs to one thread.

#ifndef NARROW_CONVERTER_QUANTIZE_BLOCK_BLOCK_SOLVER_H_
#define NARROW_CONVERTER_QUANTIZE_BLOCK_BLOCK_SOLVER_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/blockwise/layer_stats.h"
#include "converter/quantize/block/layer_moments.h"
#include "converter/quantize/block/layer_solver.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "formats/base/parallel.h"
#include "formats/overlay_source.h"
#include "kernels/device.h"

namespace narrow {

// Bytes of tensors as the output has them: planes, and dense tensors that
// are other than in the input.
struct BlockOutput {
  std::vector<std::pair<TensorMeta, std::vector<uint8_t>>> tensors;
  std::vector<LayerReport> reports;
};

class BlockSolver {
 public:
  // All must outlive this; `cancelled` may be null, and `device`: with one,
  // solvers that know devices take it, and layers of one shape go together.
  BlockSolver(const ModelInput* input, const QuantizePlan* plan,
              OverlaySource* overlay, ThreadPool* pool,
              const std::atomic<bool>* cancelled,
              const Device* device = nullptr);

  // Of outputs, for the solvers that couple them; borrowed.
  void set_moments(const LayerMoments* moments) { moments_ = moments; }

  // Statistics are freed as soon as they are used. Cancelled between layers.
  // With `names` (GGUF's) only these layers, of those that `stats` are of.
  // REQUIRES: no names with a transform, which moves scales between layers.
  absl::StatusOr<BlockOutput> Solve(int block, BlockStats stats,
                                    absl::Span<const std::string> names = {});
  // Whether any of these layers is to be quantized.
  bool AnyToSolve(int block, absl::Span<const std::string> names) const;
  // Shows the original weights of a block again, and frees the others.
  void Restore(int block);

  // Every tensor that Solve may replace; for OverlaySource's constructor.
  static std::vector<std::string> Replaceable(const QuantizePlan& plan);

 private:
  // What transforms do to one linear layer.
  struct Fold {
    std::vector<float> columns;  // multiply; empty: nothing
    std::vector<float> rows;     // divide; empty: nothing
    double ratio = 0;
  };
  struct Work;

  const ModelLinear& Linear(size_t known) const {
    return plan_.linears.known[known];
  }
  const TensorView& View(size_t known) const;
  bool CanTransform(const LinearGroup& group) const;
  absl::Status Transform(const LinearGroup& group, const BlockStats& stats,
                         Work* work);
  absl::Status Absorb(const LinearGroup& group, std::vector<float>* scales,
                      Work* work);
  absl::Status AbsorbInNorm(const Absorber& absorber,
                            std::vector<float>* scales, Work* work);
  absl::Status AbsorbInRows(const Absorber& absorber,
                            const std::vector<float>& scales, Work* work);
  absl::Status ReadFolded(size_t known, const Work& work,
                          std::vector<float>* weights, ThreadPool* pool) const;
  absl::Status SolveGroup(const LinearGroup& group, BlockStats* stats,
                          Work* work);
  // A member of a group on its way.
  struct Member;
  absl::Status ReadMember(const Work& work, ThreadPool* pool,
                          Member* member) const;
  absl::Status SolveMember(const Work& work, ThreadPool* pool,
                           Member* member) const;
  absl::Status SolveMembers(const Work& work,
                            absl::Span<Member* const> members) const;
  absl::Status FinishMember(const Work& work, SolvedLayer solved,
                            ThreadPool* pool, Member* member) const;
  LayerProblem ProblemOf(const Member& member) const;
  std::vector<std::vector<Member*>> Lots(std::vector<Member>* members) const;
  absl::Status SolveAll(const Work& work, std::vector<Member>* members) const;
  const PlannedLayer& LayerOf(size_t known) const {
    return plan_.layers[static_cast<size_t>(layer_of_[known])];
  }
  absl::Status WriteFoldedDense(size_t known, const Work& work,
                                BlockOutput* out,
                                std::vector<float>* shown) const;
  absl::Status WriteFoldedBias(size_t known, const Work& work,
                               BlockOutput* out) const;

  const ModelInput& input_;
  const QuantizePlan& plan_;
  OverlaySource& overlay_;
  ThreadPool& pool_;
  const std::atomic<bool>* cancelled_;
  const Device* const device_;
  const LayerMoments* moments_ = nullptr;
  std::vector<int> layer_of_;  // by known; -1: stays dense
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_BLOCK_BLOCK_SOLVER_H_
