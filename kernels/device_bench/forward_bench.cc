#include "kernels/device_bench/forward_bench.h"

#include <algorithm>

#include "formats/base/status.h"

namespace narrow {

absl::StatusOr<double> BenchForward(const Device& device,
                                    const ForwardSizes& sizes,
                                    BenchSummary* summary) {
  // The largest operands: two of all tokens, or all experts' matrices.
  const int64_t n_floats =
      std::max({2 * sizes.n_tokens * sizes.width, sizes.n_tokens * sizes.vocab,
                sizes.n_experts * sizes.expert_width * sizes.width,
                sizes.n_tokens * sizes.n_used * sizes.width,
                sizes.inner * sizes.width, sizes.slice * sizes.width});
  ASSIGN_OR_RETURN(auto bench, Bench::New(device, n_floats, summary));
  RETURN_IF_ERROR(BenchProducts(sizes, bench.get()));
  RETURN_IF_ERROR(BenchAttention(sizes, bench.get()));
  RETURN_IF_ERROR(BenchRows(sizes, bench.get()));
  RETURN_IF_ERROR(BenchGradients(sizes, bench.get()));
  RETURN_IF_ERROR(BenchPieces(sizes, bench.get()));
  return BenchModel(sizes, bench.get());
}

}  // namespace narrow
