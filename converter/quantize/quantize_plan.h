// What `narrow quantize` will write: which layers are quantized, by which
// solver, in which scheme, and every tensor of the output with its size, all
// fixed before a weight is read.
//
//   ASSIGN_OR_RETURN(QuantizePlan plan, PlanQuantize(*input, recipe, options));
//   plan.tensors; plan.tensor_bytes; plan.file_bytes;    // to the byte
//
// A plan borrows from the input that made it, and is not copied.

#ifndef NARROW_CONVERTER_QUANTIZE_QUANTIZE_PLAN_H_
#define NARROW_CONVERTER_QUANTIZE_QUANTIZE_PLAN_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "calibration/blockwise/layer_stats.h"
#include "converter/quantize/linear_layers.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/recipe/method.h"
#include "converter/quantize/recipe/recipe.pb.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/transforms/transform.h"
#include "formats/packing/packing.h"
#include "formats/tensor.h"

namespace narrow {

// A layer that will be quantized.
struct PlannedLayer {
  const LinearLayer* linear;
  const Method* method;
  const Solver* solver;
  WeightScheme scheme;
  std::vector<TensorMeta> planes;
  int64_t n_bytes = 0;  // of the planes
  std::string reason;   // "the recipe's rule", "override 'down_proj'"

  const std::string& name() const { return linear->view->meta.name; }
  int64_t n_rows() const { return linear->view->meta.shape[0]; }
  int64_t n_cols() const { return linear->view->meta.shape[1]; }
};

// A layer that stays dense, and why.
struct DenseLayer {
  const LinearLayer* linear;
  std::string reason;
  bool refused = false;  // by the packing: it was to be quantized
};

// A tensor of the output.
struct OutputTensor {
  enum class Kind : uint8_t {
    kCopy,    // the input's bytes
    kEncode,  // a decoded or merged matrix, in meta.type
    kPlane,   // of a packed layer
  };
  Kind kind = Kind::kCopy;
  TensorMeta meta;
  const TensorView* view = nullptr;  // of the input, unless a plane
  int layer = -1;                    // into QuantizePlan::layers: its plane
  int plane = -1;
};

struct OutputShard {
  std::string name;
  size_t first = 0;
  size_t n = 0;
  int64_t file_bytes = 0;
};

struct QuantizePlan {
  QuantizePlan() = default;
  // Layers point into `linears`, which a copy would leave behind.
  QuantizePlan(QuantizePlan&&) = default;
  QuantizePlan& operator=(QuantizePlan&&) = default;

  QuantizeRecipe recipe;             // with all that follows from its method
  const Packing* packing = nullptr;  // nullptr: nothing is quantized
  QuantType model_dtype = QuantType::kBF16;  // of what is not packed
  SolverOptions solver_options;
  const Transform* transform = nullptr;
  TransformOptions transform_options;
  bool calibrated = false;
  StatsNeeds needs;

  LinearLayers linears;
  std::vector<PlannedLayer> layers;  // in the order of the source
  std::vector<DenseLayer> dense;     // likewise
  std::vector<std::string> notes;    // for people
  // In the order of the files. Tensors whose bytes are no multiple of 8 come
  // last, larger elements first, so that each is aligned for its type.
  std::vector<OutputTensor> tensors;
  std::vector<OutputShard> shards;
  int64_t tensor_bytes = 0;
  int64_t file_bytes = 0;   // exact, of the shards
  int64_t input_bytes = 0;  // of the input's tensors
  int64_t n_weights = 0;    // in all tensors
  int64_t n_quantized = 0;  // weights of quantized layers
  // The value of config.json's "quantization_config"; "" without packing.
  std::string quantization_config;

  int n_refused() const;
  // The options with which a layer's solver is called.
  SolverOptions OptionsFor(const WeightScheme& scheme) const;
};

struct PlanOptions {
  bool merge_only = false;  // nothing is quantized
  // Only the recipe is asked for, so the text may still be missing.
  bool recipe_only = false;
  int64_t max_shard_bytes = 5'000'000'000;
};

// InvalidArgument, Unimplemented: what the recipe asks cannot be had, why,
// and what would work.
absl::StatusOr<QuantizePlan> PlanQuantize(const ModelInput& input,
                                          const QuantizeRecipe& recipe,
                                          const PlanOptions& options);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_QUANTIZE_PLAN_H_
