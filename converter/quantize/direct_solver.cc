#include "converter/quantize/direct_solver.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/quantize/tensor_values.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Matrices solved side by side may take about this much, beside the work of
// the solvers; one is always in flight.
constexpr int64_t kSideBySideBytes = int64_t{2} << 30;
constexpr int64_t kBytesPerWeight = 16;

}  // namespace

int DirectSolver::SideBySide(int n_threads) const {
  int64_t largest = 1;
  for (const PlannedLayer& layer : plan_.layers) {
    largest = std::max(largest, layer.n_rows() * layer.n_cols());
  }
  return static_cast<int>(std::clamp<int64_t>(
      kSideBySideBytes / (largest * kBytesPerWeight), 1, n_threads));
}

absl::StatusOr<SolvedLayer> DirectSolver::Solve(int index, ThreadPool* pool) {
  const PlannedLayer& layer = plan_.layers[static_cast<size_t>(index)];
  const TensorView& view = *layer.linear->view;
  std::vector<float> weights(
      static_cast<size_t>(layer.n_rows() * layer.n_cols()));
  RETURN_IF_ERROR(ReadValues(view, 0, layer.n_rows(), pool, weights.data()));
  input_.source->Release(view.data);
  LayerProblem problem;
  problem.plan = &plan_;
  problem.layer = index;
  problem.weights = weights.data();
  problem.device = device_;
  ASSIGN_OR_RETURN(problem.importance, ImportanceOf(layer));
  if (layer.scheme.global_scale && layer.linear->siblings >= 0) {
    ASSIGN_OR_RETURN(problem.global_scale, SiblingScale(layer, pool));
  }
  return SolveLayer(problem, pool);
}

absl::StatusOr<const float*> DirectSolver::ImportanceOf(
    const PlannedLayer& layer) const {
  if (importance_ == nullptr || layer.linear->known < 0) {
    return nullptr;
  }
  const ModelLinear& linear =
      plan_.linears.known[static_cast<size_t>(layer.linear->known)];
  const ImportanceEntry* entry = importance_->Find(linear.gguf_name);
  if (entry == nullptr) {
    return nullptr;
  }
  const int64_t matrix = std::max(0, linear.expert);
  const int64_t n = static_cast<int64_t>(entry->mean_sq.size());
  if (n % linear.n_cols != 0 || (matrix + 1) * linear.n_cols > n) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the importance matrix has ", n, " values for ", linear.gguf_name,
        ", whose rows have ", linear.n_cols, "; is it of another model? ",
        "reading ", importance_->path));
  }
  return entry->mean_sq.data() + matrix * linear.n_cols;
}

// The global scale that a layer shares with those it is fused with.
absl::StatusOr<float> DirectSolver::SiblingScale(const PlannedLayer& layer,
                                                 ThreadPool* pool) {
  const int set = layer.linear->siblings;
  {
    std::lock_guard<std::mutex> lock(scales_mutex_);
    const auto it = sibling_scales_.find(set);
    if (it != sibling_scales_.end()) {
      return it->second;
    }
  }
  float max_abs = 0;
  for (const PlannedLayer& other : plan_.layers) {
    if (other.linear->siblings != set || !other.scheme.global_scale) {
      continue;
    }
    std::vector<float> weights(
        static_cast<size_t>(other.n_rows() * other.n_cols()));
    RETURN_IF_ERROR(ReadValues(*other.linear->view, 0, other.n_rows(), pool,
                               weights.data()));
    max_abs = std::max(max_abs,
                       MaxAbs(weights.data(), other.n_rows() * other.n_cols()));
  }
  const float scale = FusedGlobalScale(plan_, layer, max_abs);
  std::lock_guard<std::mutex> lock(scales_mutex_);
  sibling_scales_[set] = scale;  // the same whoever computed it
  return scale;
}

}  // namespace narrow
