// Products, Gram matrices and factors on one thread, with OpenBLAS beside
// them and the processor's peak; items are multiply-adds (of a triangle, where
// only that is computed) per second of processor time.
//
//   linalg_bench --benchmark_filter=F32
//
// Vary NARROW_ISA for the other instruction sets; OPENBLAS_CORETYPE=Haswell
// gives OpenBLAS the same.

#include <cblas.h>

#include <algorithm>
#include <random>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/cpu.h"
#include "kernels/linalg/cholesky.h"
#include "kernels/linalg/fma_peak.h"
#include "kernels/linalg/gemm.h"
#include "kernels/linalg/gram.h"

// LAPACK's, for which this OpenBLAS brings no header.
extern "C" void dpotrf_(const char* triangle, const int* n, double* matrix,
                        const int* stride, int* info);

namespace narrow {
namespace {

template <typename T>
std::vector<T> Normal(int64_t n) {
  std::mt19937 random(1);
  std::normal_distribution<T> normal;
  std::vector<T> values(static_cast<size_t>(n));
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

template <typename T>
void BM_Peak(benchmark::State& state) {
  if (CpuIsa() == Isa::kScalar) {
    state.SkipWithError("no vectors");
    return;
  }
  constexpr int64_t kRounds = 100000;
  int64_t n = 0;
  T value = T{0.5};
  for (auto _ : state) {
    value = T{0.5};
    n = CpuIsa() == Isa::kAvx512 ? avx512::FmaRounds(kRounds, &value)
                                 : avx2::FmaRounds(kRounds, &value);
    benchmark::DoNotOptimize(value);
  }
  state.SetItemsProcessed(state.iterations() * kRounds * n);
}

struct Sizes {
  explicit Sizes(const benchmark::State& state)
      : m(state.range(0)), n(state.range(1)), k(state.range(2)) {}
  const int64_t m, n, k;
};

template <typename T>
void BM_Gemm(benchmark::State& state, bool transposed) {
  const Sizes s(state);
  const auto a = Normal<T>(s.m * s.k), b = Normal<T>(s.k * s.n);
  std::vector<T> c(static_cast<size_t>(s.m * s.n));
  for (auto _ : state) {
    if (transposed) {
      GemmNT(nullptr, Update::kSet, s.m, s.n, s.k, a.data(), s.k, b.data(), s.k,
             c.data(), s.n);
    } else {
      Gemm(nullptr, Update::kSet, s.m, s.n, s.k, a.data(), s.k, b.data(), s.n,
           c.data(), s.n);
    }
  }
  state.SetItemsProcessed(state.iterations() * s.m * s.n * s.k);
}

void BlasProduct(const Sizes& s, bool transposed, const float* a,
                 const float* b, float* c) {
  cblas_sgemm(
      CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans,
      static_cast<int>(s.m), static_cast<int>(s.n), static_cast<int>(s.k), 1, a,
      static_cast<int>(s.k), b, static_cast<int>(transposed ? s.k : s.n), 0, c,
      static_cast<int>(s.n));
}
void BlasProduct(const Sizes& s, bool transposed, const double* a,
                 const double* b, double* c) {
  cblas_dgemm(
      CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans,
      static_cast<int>(s.m), static_cast<int>(s.n), static_cast<int>(s.k), 1, a,
      static_cast<int>(s.k), b, static_cast<int>(transposed ? s.k : s.n), 0, c,
      static_cast<int>(s.n));
}

template <typename T>
void BM_OpenBlasGemm(benchmark::State& state, bool transposed) {
  const Sizes s(state);
  openblas_set_num_threads(1);
  const auto a = Normal<T>(s.m * s.k), b = Normal<T>(s.k * s.n);
  std::vector<T> c(static_cast<size_t>(s.m * s.n));
  for (auto _ : state) {
    BlasProduct(s, transposed, a.data(), b.data(), c.data());
  }
  state.SetItemsProcessed(state.iterations() * s.m * s.n * s.k);
}

int64_t TriangleWork(const benchmark::State& state) {
  return state.range(0) * state.range(1) * (state.range(1) + 1) / 2;
}

void BM_Gram(benchmark::State& state) {
  const int64_t n_rows = state.range(0), n_cols = state.range(1);
  const auto rows = Normal<float>(n_rows * n_cols);
  std::vector<double> gram(static_cast<size_t>(n_cols * n_cols));
  for (auto _ : state) {
    AddGram(nullptr, rows.data(), n_rows, n_cols, nullptr, gram.data());
  }
  state.SetItemsProcessed(state.iterations() * TriangleWork(state));
}

// In float32 throughout, then in double throughout.
void BM_OpenBlasSsyrk(benchmark::State& state) {
  const int n_rows = static_cast<int>(state.range(0));
  const int n_cols = static_cast<int>(state.range(1));
  openblas_set_num_threads(1);
  const auto rows = Normal<float>(int64_t{n_rows} * n_cols);
  std::vector<float> gram(static_cast<size_t>(n_cols) * n_cols);
  for (auto _ : state) {
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, n_cols, n_rows, 1,
                rows.data(), n_cols, 1, gram.data(), n_cols);
  }
  state.SetItemsProcessed(state.iterations() * TriangleWork(state));
}
void BM_OpenBlasDsyrk(benchmark::State& state) {
  const int n_rows = static_cast<int>(state.range(0));
  const int n_cols = static_cast<int>(state.range(1));
  openblas_set_num_threads(1);
  const auto rows = Normal<double>(int64_t{n_rows} * n_cols);
  std::vector<double> gram(static_cast<size_t>(n_cols) * n_cols);
  for (auto _ : state) {
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, n_cols, n_rows, 1,
                rows.data(), n_cols, 1, gram.data(), n_cols);
  }
  state.SetItemsProcessed(state.iterations() * TriangleWork(state));
}

// Diagonally dominant, which is quick to make.
std::vector<double> Positive(int64_t n) {
  auto h = Normal<double>(n * n);
  for (int64_t i = 0; i < n; ++i) {
    h[i * n + i] = static_cast<double>(2 * n);
  }
  return h;
}

// n / 6 squared multiply-adds; range(1) threads.
void BM_Factor(benchmark::State& state) {
  const int64_t n = state.range(0);
  ThreadPool pool(static_cast<int>(state.range(1)));
  const auto h = Positive(n);
  std::vector<double> r(h.size());
  for (auto _ : state) {
    state.PauseTiming();
    std::copy(h.begin(), h.end(), r.begin());
    state.ResumeTiming();
    const FactorResult result = FactorUpper(&pool, n, r.data());
    if (result.failed_at >= 0) {
      state.SkipWithError("not positive definite");
    }
  }
  state.SetItemsProcessed(state.iterations() * (n * n * n / 6));
}

void BM_OpenBlasPotrf(benchmark::State& state) {
  const int64_t n = state.range(0);
  openblas_set_num_threads(static_cast<int>(state.range(1)));
  const auto h = Positive(n);
  std::vector<double> r(h.size());
  for (auto _ : state) {
    state.PauseTiming();
    std::copy(h.begin(), h.end(), r.begin());
    state.ResumeTiming();
    const int size = static_cast<int>(n);
    int info = 0;
    dpotrf_("L", &size, r.data(), &size, &info);
  }
  state.SetItemsProcessed(state.iterations() * (n * n * n / 6));
}

#define NARROW_SHAPES           \
  Args({2048, 2048, 2048})      \
      ->Args({128, 2048, 640})  \
      ->Args({4096, 128, 4096}) \
      ->Args({256, 256, 256})   \
      ->Unit(benchmark::kMillisecond)
BENCHMARK_TEMPLATE(BM_Peak, float)->Name("F32/peak");
BENCHMARK_TEMPLATE(BM_Peak, double)->Name("F64/peak");
void GemmF32(benchmark::State& s) { BM_Gemm<float>(s, false); }
void GemmF32NT(benchmark::State& s) { BM_Gemm<float>(s, true); }
void GemmF64(benchmark::State& s) { BM_Gemm<double>(s, false); }
void GemmF64NT(benchmark::State& s) { BM_Gemm<double>(s, true); }
void OpenBlasF32(benchmark::State& s) { BM_OpenBlasGemm<float>(s, false); }
void OpenBlasF32NT(benchmark::State& s) { BM_OpenBlasGemm<float>(s, true); }
void OpenBlasF64(benchmark::State& s) { BM_OpenBlasGemm<double>(s, false); }
void OpenBlasF64NT(benchmark::State& s) { BM_OpenBlasGemm<double>(s, true); }
BENCHMARK(GemmF32)->NARROW_SHAPES;
BENCHMARK(GemmF32NT)->NARROW_SHAPES;
BENCHMARK(OpenBlasF32)->NARROW_SHAPES;
BENCHMARK(OpenBlasF32NT)->NARROW_SHAPES;
BENCHMARK(GemmF64)->NARROW_SHAPES;
BENCHMARK(GemmF64NT)->NARROW_SHAPES;
BENCHMARK(OpenBlasF64)->NARROW_SHAPES;
BENCHMARK(OpenBlasF64NT)->NARROW_SHAPES;
BENCHMARK(BM_Gram)
    ->Args({2048, 2048})
    ->Args({256, 640})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_OpenBlasSsyrk)
    ->Args({2048, 2048})
    ->Args({256, 640})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_OpenBlasDsyrk)
    ->Args({2048, 2048})
    ->Args({256, 640})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Factor)
    ->Args({640, 1})
    ->Args({2048, 1})
    ->Args({2048, 2})
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_OpenBlasPotrf)
    ->Args({640, 1})
    ->Args({2048, 1})
    ->Args({2048, 2})
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace narrow
