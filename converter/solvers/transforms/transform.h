// A transform moves scales between the layers of a block before its weights
// are quantized, so that the block computes the same and rounds better: the
// columns of linear layers are multiplied, and what feeds them is divided.
//
//   const Transform* awq = FindTransform("awq");
//   ASSIGN_OR_RETURN(BlockScales scales, awq->run(problem));
//   // per group: weights[:, j] *= s[j]; absorber[j] /= s[j]; H_ij /= s_i s_j
//
// One file and one row in transforms.inc each. Which layers share an input
// and what can absorb its scale is formats/arch/linear_groups.h.

#ifndef NARROW_CONVERTER_SOLVERS_TRANSFORMS_TRANSFORM_H_
#define NARROW_CONVERTER_SOLVERS_TRANSFORMS_TRANSFORM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calibration/blockwise/layer_stats.h"
#include "converter/solvers/solver.h"
#include "formats/base/parallel.h"
#include "formats/packing/quantized_matrix.h"
#include "kernels/device.h"

namespace narrow {

// One linear layer of a group, as it is going to be quantized (or not: a
// router shares the input and is scaled, but stays dense).
struct TransformMember {
  absl::string_view name;
  const float* weights;  // [n_rows, n_cols]
  int64_t n_rows = 0;
  bool quantized = true;
  WeightScheme scheme;
};

// Linear layers fed by one input whose columns can be scaled.
struct TransformGroup {
  std::vector<TransformMember> members;
  int64_t n_cols = 0;
  // Columns that must have one scale, as the absorber's outputs feed several
  // of them (value heads shared by query heads): class of each column, or
  // empty where each is its own. [n_cols], 0 ... n_classes - 1.
  std::vector<int32_t> column_class;
  const LayerStats* stats = nullptr;
  // A card, or the processor as one, on which candidates may be tried;
  // nullptr: the processor. No bit depends on it.
  const Device* device = nullptr;
};

struct TransformOptions {
  // AWQ: ratios tried, and whether weight magnitudes enter the scales.
  int n_grid = 20;
  bool duo_scaling = true;
  // SmoothQuant: migration strength; < 0: searched by squared error.
  double alpha = 0.5;
  FitOptions fit;  // of the trial quantizations
};

struct GroupScales {
  std::vector<float> scales;  // [n_cols], positive, finite; empty: none
  double ratio = 0;           // AWQ's exponent or SmoothQuant's alpha
  double error_before = 0;    // objective without scales, and with them
  double error_after = 0;
  std::vector<std::string> notes;  // where a device's memory was short
};

struct Transform {
  const char* name;  // "awq", "smoothquant"
  const char* title;
  StatsNeeds (*needs)(const TransformOptions& options);
  // Scales for one group; rejected (empty) where they do not lower the
  // objective.
  absl::StatusOr<GroupScales> (*run)(const TransformGroup& group,
                                     const TransformOptions& options,
                                     ThreadPool* pool);
};

#define NARROW_TRANSFORM(variable) extern const Transform variable;
#include "converter/solvers/transforms/transforms.inc"
#undef NARROW_TRANSFORM

absl::Span<const Transform* const> AllTransforms();
const Transform* FindTransform(absl::string_view name);  // nullptr if unknown

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_TRANSFORMS_TRANSFORM_H_
