// Products of the shapes of Gemma-3-270M and of 4096-wide models on one
// thread, with OpenBLAS beside oneDNN and our own; items are multiply-adds.
#include <cblas.h>

#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/cpu.h"
#include "kernels/matmul/matmul.h"

namespace narrow {
namespace {

constexpr int64_t kRows = 128;

void BM_Matmul(benchmark::State& state, ProductType type) {
  if (type == ProductType::kBf16 && !CpuHasBf16Products()) {
    state.SkipWithError("no bfloat16 products");
    return;
  }
  const int64_t n_in = state.range(0), n_out = state.range(1);
  Matmul matmul(type);
  auto matrix = matmul.NewMatrix(n_out, n_in);
  const std::vector<float> weights(static_cast<size_t>(n_out * n_in), 0.5f);
  for (int64_t p = 0; p < matrix->n_panels(); ++p) {
    matmul.PackPanel(weights.data(), p, &*matrix);
  }
  const std::vector<float> rows(static_cast<size_t>(kRows * n_in), 0.5f);
  const std::vector<uint16_t> rounded(rows.size(), 0x3f00);
  std::vector<float> tile(kRows * kPanelCols);
  for (auto _ : state) {
    for (int64_t p = 0; p < matrix->n_panels(); ++p) {
      if (type == ProductType::kBf16) {
        matmul.Multiply(rounded.data(), kRows, *matrix, p, tile.data());
      } else {
        matmul.Multiply(rows.data(), kRows, *matrix, p, tile.data());
      }
    }
  }
  state.SetItemsProcessed(state.iterations() * kRows * n_in * n_out);
}

void BM_OpenBlas(benchmark::State& state) {
  const int64_t n_in = state.range(0), n_out = state.range(1);
  openblas_set_num_threads(1);
  const std::vector<float> weights(static_cast<size_t>(n_out * n_in), 0.5f);
  const std::vector<float> rows(static_cast<size_t>(kRows * n_in), 0.5f);
  std::vector<float> out(static_cast<size_t>(kRows * n_out));
  for (auto _ : state) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, kRows,
                static_cast<int>(n_out), static_cast<int>(n_in), 1, rows.data(),
                static_cast<int>(n_in), weights.data(), static_cast<int>(n_in),
                0, out.data(), static_cast<int>(n_out));
  }
  state.SetItemsProcessed(state.iterations() * kRows * n_in * n_out);
}

void Pack(benchmark::State& state, ProductType type) {
  const int64_t n_in = state.range(0);
  Matmul matmul(type);
  auto matrix = matmul.NewMatrix(kPanelCols, n_in);
  const std::vector<float> weights(static_cast<size_t>(kPanelCols * n_in),
                                   0.5f);
  for (auto _ : state) {
    matmul.PackPanel(weights.data(), 0, &*matrix);
  }
  state.SetItemsProcessed(state.iterations() * kPanelCols * n_in);
}

#define NARROW_SHAPES \
  Args({640, 2048})->Args({2048, 640})->Args({4096, 4096})->Args({256, 64})
BENCHMARK_CAPTURE(BM_Matmul, f32, ProductType::kF32)->NARROW_SHAPES;
BENCHMARK_CAPTURE(BM_Matmul, bf16, ProductType::kBf16)->NARROW_SHAPES;
BENCHMARK_CAPTURE(BM_Matmul, reproducible, ProductType::kReproducible)
    ->NARROW_SHAPES;
BENCHMARK(BM_OpenBlas)->NARROW_SHAPES;
BENCHMARK_CAPTURE(Pack, f32, ProductType::kF32)->Arg(640)->Arg(4096);
BENCHMARK_CAPTURE(Pack, bf16, ProductType::kBf16)->Arg(640)->Arg(4096);
BENCHMARK_CAPTURE(Pack, reproducible, ProductType::kReproducible)
    ->Arg(640)
    ->Arg(4096);

}  // namespace
}  // namespace narrow
