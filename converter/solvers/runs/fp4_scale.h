// NVFP4's scale of a whole tensor, by which every block's scale is divided.
//
//   float largest = ...;                    // magnitude, over fused siblings
//   problem.global_scale = Nvfp4GlobalScale(largest, options);

#ifndef NARROW_CONVERTER_SOLVERS_RUNS_FP4_SCALE_H_
#define NARROW_CONVERTER_SOLVERS_RUNS_FP4_SCALE_H_

#include "converter/solvers/solver.h"

namespace narrow {

// For weights (or inputs) of at most `largest`. Layers that an engine fuses
// (query, key, value; gate, up) must share one: take the largest of all.
// Peers map it to the product of the largest block scale and the largest code,
// 448 * 6; with options.scale_search it is 256 * 6, so that the block of the
// largest weight may have scales above its own (four over six). 1 for 0.
float Nvfp4GlobalScale(float largest, const SolverOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_RUNS_FP4_SCALE_H_
