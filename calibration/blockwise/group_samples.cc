// Tested by: block_calibrator_test.

#include "calibration/blockwise/group_samples.h"

#include <algorithm>

namespace narrow {
namespace {

// Hidden states that go through a block together: enough rows for every
// expert, and few beside the block's weights. A share of what may be kept.
constexpr int64_t kMostGroupBytes = int64_t{256} << 20;
constexpr int64_t kLeastGroupBytes = int64_t{16} << 20;
constexpr int64_t kGroupShare = 8;
// Inputs of the original model's layers that are kept to be compared.
constexpr int64_t kMostRecordedBytes = int64_t{512} << 20;

// Of one sample's inputs: those of attention, of its output, of the
// feed-forward part and of its output, and the residual stream twice.
int64_t RecordedBytes(const ModelConfig& c, int64_t sample_tokens) {
  const int64_t n_experts = std::max<int64_t>(1, c.n_experts_used);
  const int64_t inner = c.n_experts > 0 ? c.expert_ffn_size : c.ffn_size;
  const int64_t width = (4 + n_experts) * c.hidden_size +
                        c.n_heads * c.head_dim + n_experts * inner;
  return width * sample_tokens * static_cast<int64_t>(sizeof(float));
}

}  // namespace

int64_t SamplesOfGroup(const ModelConfig& config, const HiddenShape& shape,
                       const GroupLimits& limits) {
  int64_t n = limits.fixed;
  if (n <= 0) {
    const int64_t bytes = std::clamp(limits.hidden_bytes / kGroupShare,
                                     kLeastGroupBytes, kMostGroupBytes);
    const int64_t inner_bytes = limits.inner_cols * shape.sample_tokens *
                                static_cast<int64_t>(sizeof(float));
    n = bytes / std::max(shape.sample_bytes(), inner_bytes);
    if (limits.recorded) {
      const int64_t recorded = RecordedBytes(config, shape.sample_tokens);
      n = std::min(n, kMostRecordedBytes / std::max<int64_t>(1, recorded));
    }
  }
  return std::clamp<int64_t>(n, 1, shape.n_samples);
}

}  // namespace narrow
