// Which tensors of a plan are solved against statistics of their inputs.
//
//   const SolveTargets targets = FindSolveTargets(plan, model,
//   /*fisher=*/true); for (const SolveTarget& t : targets.solved)
//   plan.tensors[t.tensor] … for (const UnsolvedTensor& t : targets.plain) …
//   t.why
//
// Pure functions of names, shapes and types.

#ifndef NARROW_CONVERTER_COMPENSATED_SOLVE_TARGETS_H_
#define NARROW_CONVERTER_COMPENSATED_SOLVE_TARGETS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "converter/plan.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

struct SolveTarget {
  size_t tensor = 0;  // of plan.tensors
  // The number of blocks: the output matrix; one more: the token embedding,
  // which is solved before all else.
  int block = 0;
};

// Quantized, but not solved.
struct UnsolvedTensor {
  std::string name;
  std::string why;
};

struct SolveTargets {
  std::vector<SolveTarget> solved;  // block after block
  std::vector<UnsolvedTensor> plain;
};

// `fisher`: the reverse pass is made, which the token embedding needs.
SolveTargets FindSolveTargets(const Plan& plan, const Checkpoint& model,
                              bool fisher);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_SOLVE_TARGETS_H_
