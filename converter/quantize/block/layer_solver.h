// One layer: solved, checked, packed, and remembered by a hash of what it
// decodes to.
//
//   ASSIGN_OR_RETURN(SolvedLayer solved, SolveLayer(problem, &pool));
//   solved.planes;  solved.report.relative_error;  solved.matrix
//
// Pure; `pool` is used inside.

#ifndef NARROW_CONVERTER_QUANTIZE_BLOCK_LAYER_SOLVER_H_
#define NARROW_CONVERTER_QUANTIZE_BLOCK_LAYER_SOLVER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calibration/blockwise/layer_stats.h"
#include "converter/quantize/quantize_plan.h"
#include "formats/base/parallel.h"
#include "formats/packing/quantized_matrix.h"
#include "kernels/device.h"

namespace narrow {

// What became of a layer; for reports, and to check the file against.
struct LayerReport {
  std::string name;           // of the tensor
  double relative_error = 0;  // as SolverReport has it
  double error_rounding = 0;  // of round to nearest on the same grid
  double damping = 0;
  double transform_ratio = 0;  // AWQ's exponent, SmoothQuant's alpha
  bool transformed = false;
  int64_t n_tokens = -1;  // that calibrated it; -1: none were asked for
  double shrinkage = 0;   // share of other experts' statistics
  std::vector<std::string> notes;
  uint64_t hash = 0;  // of the decoded weights: HashMatrix
};

struct LayerProblem {
  const QuantizePlan* plan;
  int layer;             // into plan->layers
  const float* weights;  // [n_rows, n_cols]
  const LayerStats* stats = nullptr;
  const float* importance = nullptr;
  const double* output_moments = nullptr;  // as SolverProblem has them
  float global_scale = 0;          // of fused siblings, see FusedGlobalScale
  const Device* device = nullptr;  // of the solver; nullptr: none
};

struct SolvedLayer {
  QuantizedMatrix matrix;
  std::vector<std::vector<uint8_t>> planes;
  LayerReport report;
};

// Errors of the solver and the packing, with the layer's name.
absl::StatusOr<SolvedLayer> SolveLayer(const LayerProblem& problem,
                                       ThreadPool* pool);

// Whether SolveLayers takes the two at once.
bool SolvedTogether(const PlannedLayer& a, const PlannedLayer& b);
// Several layers that are solved together, on a device. REQUIRES: one or more,
// all with it.
absl::StatusOr<std::vector<SolvedLayer>> SolveLayers(
    absl::Span<const LayerProblem> problems, ThreadPool* pool);

// Of the decoded weights, bit for bit (but for the sign of zeros): the same
// for any number of threads.
uint64_t HashMatrix(const QuantizedMatrix& matrix, ThreadPool* pool);

// NVFP4's global scale of layers like `layer` whose largest magnitude that is.
float FusedGlobalScale(const QuantizePlan& plan, const PlannedLayer& layer,
                       float max_abs);
float MaxAbs(const float* values, int64_t n);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_BLOCK_LAYER_SOLVER_H_
