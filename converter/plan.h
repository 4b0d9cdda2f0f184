// What will be written: the type of every tensor, why, and the exact size of
// the file, all fixed before a weight is read.
//
//   ASSIGN_OR_RETURN(Plan plan, MakePlan(*model, recipe, importance));
//   plan.file_bytes;                 // to the byte
//   plan.tensors[i].reason;          // "values of outer and every third layer"
//
// Plans borrow from the checkpoint and the importance matrix that made them.

#ifndef NARROW_CONVERTER_PLAN_H_
#define NARROW_CONVERTER_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calibration/importance/importance.h"
#include "converter/gguf/output_shards.h"
#include "converter/mix/tensor_role.h"
#include "converter/recipe.h"
#include "formats/arch/checkpoint.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {

// Rows that are blocks already, made of something else than weights.
class EncodedRows {
 public:
  virtual ~EncodedRows() = default;
  // Appends the bytes of rows [first_row, first_row + n_rows). Called from any
  // thread.
  virtual absl::Status AppendRows(int64_t first_row, int64_t n_rows,
                                  std::vector<uint8_t>* bytes) const = 0;
};

struct PlannedTensor {
  const CheckpointTensor* source;
  TensorMeta meta;  // as written
  TensorRole role;
  std::string reason;
  // The type before rows that do not divide into its blocks changed it.
  QuantType wanted = QuantType::kF32;
  // [n_matrices, n_cols], or nullptr; one matrix per expert.
  const float* importance = nullptr;
  // What the tensor is divided by before it is encoded, as a tensor of its
  // own that is written before it: float32, one value a matrix. Without a
  // name, there is none.
  TensorMeta scale = {};
  // Where the bytes come from; nullptr: from the weights of `source`.
  const EncodedRows* encoded = nullptr;

  bool fell_back() const { return wanted != meta.type; }
  bool has_scale() const { return !scale.name.empty(); }
};

struct Plan {
  Recipe recipe;
  std::vector<PlannedTensor> tensors;  // in the order of the file
  Metadata metadata;
  int64_t n_weights = 0;
  int64_t tensor_bytes = 0;  // without padding
  int64_t file_bytes = 0;    // exact, of all files
  std::optional<GgufSplitOptions> split;
  std::vector<PlannedFile> files;  // one, or the shards of a split output
  // What the recipe does that its author may not expect.
  std::vector<std::string> notes;
  bool refused = false;  // on a dry run: a conversion would fail
  int n_fallbacks = 0;
  // Quantized tensors for which the importance matrix has no entry, and
  // those for which it has some matrices (experts) only.
  std::vector<std::string> without_importance;
  std::vector<std::string> partial_importance;

  double bits_per_weight() const {
    return n_weights == 0 ? 0
                          : 8.0 * static_cast<double>(tensor_bytes) /
                                static_cast<double>(n_weights);
  }
};

// Whether a calibrated conversion gathers statistics of what goes into a
// tensor: a matrix, or experts stacked, inside a block, or the output matrix.
bool HasInputStatistics(const CheckpointTensor& tensor);

// `importance` may be null. InvalidArgument for a pattern that does not
// parse, an override that does not fit, a layer that is not there, an
// importance entry of the wrong size, a quantized input without
// allow_requantize; Unimplemented for a type without a codec;
// FailedPrecondition for a type that needs an importance matrix.
absl::StatusOr<Plan> MakePlan(const Checkpoint& model, const Recipe& recipe,
                              const ImportanceMatrix* importance);

// The tensors of the file, scales among them, in order.
std::vector<TensorMeta> FileTensors(const Plan& plan);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PLAN_H_
