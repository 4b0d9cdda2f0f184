// One key-value head of a window of 512 tokens; items are multiply-adds of
// the pairs that are seen.
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/attention/attention.h"

namespace narrow {
namespace {

void BM_Attention(benchmark::State& state) {
  AttentionShape shape;
  shape.n_tokens = 512;
  shape.group = state.range(0);
  shape.head_dim = state.range(1);
  const int64_t width = shape.group * shape.head_dim;
  const std::vector<float> q(static_cast<size_t>(512 * width), 0.1f);
  const std::vector<float> k(static_cast<size_t>(512 * shape.head_dim), 0.1f);
  std::vector<float> out(q.size());
  Matmul matmul(ProductType::kF32);
  Attention attention(&matmul, &RowKernelsForCpu());
  for (auto _ : state) {
    PackedKeys keys;
    const absl::Status status =
        attention.PackKeys(shape, k.data(), k.data(), shape.head_dim, &keys);
    if (!status.ok()) {
      state.SkipWithError("no memory");
    }
    for (int64_t t = 0; t < 512; t += kQueryTile) {
      attention.Attend(shape, q.data(), width, t, keys, out.data(), width);
    }
  }
  state.SetItemsProcessed(state.iterations() * 2 * width * 512 * 513 / 2);
}
BENCHMARK(BM_Attention)->Args({4, 256})->Args({4, 128})->Args({1, 64});

}  // namespace
}  // namespace narrow
