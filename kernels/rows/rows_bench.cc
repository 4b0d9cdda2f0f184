// Row kernels, every variant, on rows that stay in the first cache.
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

constexpr int64_t kSize = 2048;

template <typename Body>
void Register(const RowKernels& kernels, const char* op, Body body) {
  const std::string name = std::string(op) + "/" + kernels.name;
  benchmark::RegisterBenchmark(
      name.c_str(), [&kernels, body](benchmark::State& state) {
        std::vector<float> x(kSize, 0.25f), y(kSize, 0.5f);
        for (auto _ : state) {
          body(kernels, x.data(), y.data());
          benchmark::DoNotOptimize(y.data());
          benchmark::ClobberMemory();
        }
        state.SetItemsProcessed(state.iterations() * kSize);
      });
}

const bool kRegistered = [] {
  for (const RowKernels* kernels : AllRowKernels()) {
    if (kernels->isa > CpuIsa()) {
      continue;
    }
    Register(*kernels, "rms_norm", [](const RowKernels& k, float* x, float* y) {
      k.rms_norm(x, x, kSize, 1e-6f, y);
    });
    Register(*kernels, "gate_silu",
             [](const RowKernels& k, float* x, float* y) {
               k.gate_silu(x, x, kSize, y);
             });
    Register(*kernels, "exp_sum", [](const RowKernels& k, float* x, float*) {
      benchmark::DoNotOptimize(k.exp_sum(x, 1, kSize));
    });
    Register(*kernels, "max", [](const RowKernels& k, float* x, float*) {
      benchmark::DoNotOptimize(k.max(x, kSize));
    });
  }
  return true;
}();

}  // namespace
}  // namespace narrow
