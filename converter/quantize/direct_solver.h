// Layers of a plan without calibration, solved one by one from the weights
// alone.
//
//   DirectSolver solver(&input, &plan, importance, device);
//   ASSIGN_OR_RETURN(SolvedLayer solved, solver.Solve(layer, &pool));
//
// Solve may be called from several threads, each with a pool of its own.

#ifndef NARROW_CONVERTER_QUANTIZE_DIRECT_SOLVER_H_
#define NARROW_CONVERTER_QUANTIZE_DIRECT_SOLVER_H_

#include <cstdint>
#include <map>
#include <mutex>

#include "absl/status/statusor.h"
#include "calibration/importance/importance.h"
#include "converter/quantize/block/layer_solver.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"

namespace narrow {

class DirectSolver {
 public:
  // Everything is borrowed; `importance` may be null, as may `device`, that of
  // solvers which have one. REQUIRES: !plan->calibrated.
  DirectSolver(const ModelInput* input, const QuantizePlan* plan,
               const ImportanceMatrix* importance, const Device* device)
      : input_(*input),
        plan_(*plan),
        importance_(importance),
        device_(device) {}

  // Errors of reading rows, of SolveLayer, and of an importance matrix of
  // another model.
  absl::StatusOr<SolvedLayer> Solve(int layer, ThreadPool* pool);
  // Layers that memory allows to solve at once, 1 … n_threads.
  int SideBySide(int n_threads) const;

 private:
  absl::StatusOr<const float*> ImportanceOf(const PlannedLayer& layer) const;
  absl::StatusOr<float> SiblingScale(const PlannedLayer& layer,
                                     ThreadPool* pool);

  const ModelInput& input_;
  const QuantizePlan& plan_;
  const ImportanceMatrix* const importance_;
  const Device* const device_;
  std::mutex scales_mutex_;
  std::map<int, float> sibling_scales_;  // guarded
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_DIRECT_SOLVER_H_
