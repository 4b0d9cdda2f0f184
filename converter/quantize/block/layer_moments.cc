#include "converter/quantize/block/layer_moments.h"

#include <cstddef>
#include <cstdint>

#include "formats/arch/checkpoint_tensor.h"
#include "formats/base/status.h"

namespace narrow {

absl::StatusOr<std::vector<double>> LayerMoments::Read(
    const ModelLinear& linear) const {
  if (moments_ == nullptr || !moments_->Has(linear.gguf_name, linear.expert)) {
    return std::vector<double>();
  }
  ASSIGN_OR_RETURN(std::vector<double> gathered,
                   moments_->Read(linear.gguf_name, linear.expert));
  const int64_t n = linear.n_rows;
  if (static_cast<int64_t>(gathered.size()) != n * n) {
    return std::vector<double>();
  }
  const CheckpointTensor* const tensor = model_->Find(linear.gguf_name);
  if (tensor == nullptr || tensor->interleave_group == 0) {
    return gathered;
  }
  std::vector<double> stored(gathered.size());
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = StoredRow(*tensor, i);
    for (int64_t j = 0; j < n; ++j) {
      stored[static_cast<size_t>(row * n + StoredRow(*tensor, j))] =
          gathered[static_cast<size_t>(i * n + j)];
    }
  }
  return stored;
}

}  // namespace narrow
