#include "kernels/device_bench/forward_bench.h"

#include <algorithm>

#include "formats/base/status.h"

namespace narrow {

absl::Status BenchForward(const Device& device, const ForwardSizes& sizes) {
  // The largest operands: two of all tokens, or all experts' matrices.
  const int64_t n_floats =
      std::max({2 * sizes.n_tokens * sizes.width, sizes.n_tokens * sizes.vocab,
                sizes.n_experts * sizes.expert_width * sizes.width,
                sizes.n_tokens * sizes.n_used * sizes.width});
  ASSIGN_OR_RETURN(auto bench, Bench::New(device, n_floats));
  RETURN_IF_ERROR(BenchProducts(sizes, bench.get()));
  RETURN_IF_ERROR(BenchAttention(sizes, bench.get()));
  return BenchRows(sizes, bench.get());
}

}  // namespace narrow
