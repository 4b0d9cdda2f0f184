// The linear layers of a model as its checkpoint names them: where they are
// in GGUF's convention, which of them share an input, and what stands before
// that input and can absorb a scale of its columns.
//
//   ASSIGN_OR_RETURN(auto linears, FindLinears(source, spec, config, hf));
//   for (const LinearGroup& g : GroupsOfBlock(linears, spec, config, block)) …
//
// Pure functions over names and shapes.

#ifndef NARROW_FORMATS_ARCH_LINEAR_GROUPS_H_
#define NARROW_FORMATS_ARCH_LINEAR_GROUPS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/arch/arch_spec.h"
#include "formats/arch/model_config.h"
#include "formats/hf/hf_config.h"
#include "formats/tensor.h"

namespace narrow {

// One 2-D weight of a known family that multiplies activations.
struct ModelLinear {
  std::string hf_name;    // "model.layers.0.self_attn.q_proj.weight"
  std::string gguf_name;  // "blk.0.attn_q.weight": the key of statistics
  int layer = -1;         // -1 outside blocks (lm_head)
  int expert = -1;
  bool is_router = false;  // stays dense always
  int64_t n_rows = 0;
  int64_t n_cols = 0;
};

// What feeds a group and can be divided by its scales.
struct Absorber {
  enum class Kind {
    kNone,
    kNorm,       // elements of a norm's weight, (w + norm_offset) / s
    kLinearRows  // rows [first_row, first_row + n) of a linear layer's weight
                 // (and bias)
  };
  Kind kind = Kind::kNone;
  std::string hf_name;    // the weight's
  float norm_offset = 0;  // 1: the norm multiplies with 1 + w (Gemma)
  // kLinearRows: column j of the group is fed by row first_row + j, or under
  // grouped-query attention first_row + row_of_column[j]; columns of one row
  // must get one scale (TransformGroup::column_class is row_of_column).
  int64_t first_row = 0;
  std::vector<int32_t> row_of_column;
};

struct LinearGroup {
  std::vector<size_t> members;  // into the list of linears
  Absorber absorber;
};

// Every linear layer of the family that `source` has, in its order. Tensors
// that the family does not know are passed over, as are experts stacked in
// three dimensions: one tensor, no packing holds it as one layer. DataLoss: a
// shape that contradicts the configuration, or two tensors that mean one.
absl::StatusOr<std::vector<ModelLinear>> FindLinears(const TensorSource& source,
                                                     const ArchSpec& spec,
                                                     const ModelConfig& config,
                                                     const HfConfig& hf);

// Groups of block `layer`, in the order of computation: the inputs of
// attention, its output, the inputs of the feed-forward part (router and all
// experts among them), its output (one group an expert). Block -1: the output
// matrix, after the final norm. A group some of whose layers are not listed
// has no absorber, for they share what it would change.
std::vector<LinearGroup> GroupsOfBlock(const std::vector<ModelLinear>& linears,
                                       const ArchSpec& spec,
                                       const ModelConfig& config, int layer);

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_LINEAR_GROUPS_H_
