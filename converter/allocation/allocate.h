// Types for all tensors of a file, from what each loses as each.
//
//   ASSIGN_OR_RETURN(Candidates candidates,
//                    FindCandidates(model, recipe, importance, {}));
//   ASSIGN_OR_RETURN(LossTable table,
//                    ProbeLosses(model, samples, candidates.tensors, options));
//   ASSIGN_OR_RETURN(Allocation a, Allocate(model, recipe, importance,
//                                           candidates, table, request));
//   MakePlan(model, a.recipe, importance)          // is of these types
//
// Tensors that no file type changes (norms, routers) and those whose type the
// recipe fixes (--tensor-type and its kin) keep it. Pure functions of the
// checkpoint's names, shapes and types.

#ifndef NARROW_CONVERTER_ALLOCATION_ALLOCATE_H_
#define NARROW_CONVERTER_ALLOCATION_ALLOCATE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calibration/importance/importance.h"
#include "converter/allocation/loss_table.h"
#include "converter/allocation/probe.h"
#include "converter/plan.h"
#include "converter/recipe.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

struct Candidates {
  // The tensors that are quantized, with one type where it is fixed.
  std::vector<ProbeTensor> tensors;
  std::unique_ptr<Plan> plan;  // what they point into
};

// `types`: those allowed; empty: a ladder from 2 to 8 bits. Rows that do not
// divide into blocks of 256 get the types with blocks of 32. InvalidArgument
// if nothing is to be chosen; MakePlan's errors.
absl::StatusOr<Candidates> FindCandidates(const Checkpoint& model,
                                          const Recipe& recipe,
                                          const ImportanceMatrix* importance,
                                          const std::vector<QuantType>& types);

enum class AllocationTarget { kFileBytes, kBitsPerWeight, kDivergence };

struct AllocationRequest {
  AllocationTarget target = AllocationTarget::kFileBytes;
  double value = 0;
  // Query, key and value of a layer get one type, as do gate and up.
  bool fuse_siblings = false;
  // What the sum of losses is multiplied by for the divergence of the file.
  double factor = 1;
};

struct AllocatedTensor {
  std::string name;
  QuantType type = QuantType::kF32;
  int64_t n_bytes = 0;
  double loss = 0;     // times the factor
  bool probed = true;  // otherwise the widest type, as its loss is not known
};

struct Allocation {
  Recipe recipe;
  std::vector<AllocatedTensor> tensors;
  double divergence = 0;  // predicted: the losses' sum
  double gap = 0;         // KnapsackSolution::gap
  int64_t file_bytes = 0;
  double bits_per_weight = 0;
};

// InvalidArgument: a target that no choice reaches, with the least (or most)
// that one does.
absl::StatusOr<Allocation> Allocate(const Checkpoint& model,
                                    const Recipe& recipe,
                                    const ImportanceMatrix* importance,
                                    const Candidates& candidates,
                                    const LossTable& table,
                                    const AllocationRequest& request);

// A line PATTERN=TYPE for each kind of tensor and type, as --tensor-type-file
// reads it (llama-quantize too), for tensors of these types.
std::string RecipeText(const std::vector<AllocatedTensor>& tensors);

}  // namespace narrow

#endif  // NARROW_CONVERTER_ALLOCATION_ALLOCATE_H_
