#include "kernels/device_bench/solver_bench.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/device_bench/solver_layers.h"
#include "kernels/linalg/device/device_chains.h"
#include "kernels/linalg/device/fast_linalg.h"

namespace narrow {
namespace {

absl::Status BenchChains(const SolverSizes& sizes, Bench* bench) {
  DeviceStream* const stream = bench->stream();
  const int64_t n = sizes.n_cols;
  const int64_t m = sizes.n_tokens;
  const auto narrow_product = chain::GemmNT<float>(
      Update::kSet, m, n, n, bench->in(), n, bench->in(), n, bench->out(), n);
  RETURN_IF_ERROR(bench->Operations(
      absl::StrCat("chains in float32, ", SizeOf(m, n), " x ", n),
      2 * Cube(m, n, n),
      [&] { return RunChainProduct(narrow_product, stream); },
      Units::kFloat32));
  const double* const wide = reinterpret_cast<const double*>(bench->in());
  const auto wide_product =
      chain::Gemm<double>(Update::kSet, m / 4, n, n, wide, n, wide, n,
                          reinterpret_cast<double*>(bench->out()), n);
  RETURN_IF_ERROR(bench->Operations(
      absl::StrCat("chains in float64, ", SizeOf(m / 4, n), " x ", n),
      2 * Cube(m / 4, n, n),
      [&] { return RunChainProduct(wide_product, stream); }, Units::kFloat64));
  chain::GramTask gram;
  gram.left = gram.right = bench->in();
  gram.left_stride = gram.right_stride = gram.m = gram.n = n;
  gram.n_rows = m;
  gram.upper = true;
  gram.sums = reinterpret_cast<double*>(bench->out());
  gram.sums_stride = n;
  RETURN_IF_ERROR(
      stream->Fill(0, static_cast<size_t>(8 * n * n), bench->out()));
  return bench->Operations(
      absl::StrCat("Gram matrix in chains, ", SizeOf(m, n)), Cube(m, n, n),
      [&] { return RunGram(gram, stream); }, Units::kFloat32);
}

// With other last digits.
absl::Status BenchFastMatrix(const SolverSizes& sizes, Bench* bench) {
  const int64_t n = sizes.n_cols;
  const int64_t rows = sizes.n_rows;
  std::vector<std::string> notes;
  ASSIGN_OR_RETURN(auto fast, FastLinalg::Open(bench->device(), &notes));
  for (const std::string& note : notes) {
    std::printf("%s\n", note.c_str());
  }
  ASSIGN_OR_RETURN(auto layers, SolverLayers::New(bench, 1, rows, n,
                                                  sizes.group, fast.get()));
  if (fast->solver() != nullptr) {
    RETURN_IF_ERROR(bench->Operations(
        absl::StrCat("... by ", fast->solver()->name()), Cube(n, n, n) / 3,
        [&] { return layers->Factor(); }, Units::kFloat64));
  } else {
    RETURN_IF_ERROR(layers->Factor());
  }
  // Three products of parts.
  RETURN_IF_ERROR(bench->Operations(
      absl::StrCat("error feedback on tensor cores, ", SizeOf(rows, n)),
      3 * Cube(rows, n, n), [&] { return layers->Feed(); }));
  return bench->Operations(
      absl::StrCat("a round of descent on tensor cores, ", SizeOf(rows, n)),
      18 * Cube(rows, n, n), [&] { return layers->Descend(1); });
}

absl::Status BenchMatrix(const SolverSizes& sizes, Bench* bench) {
  const int64_t n = sizes.n_cols;
  const int64_t rows = sizes.n_rows;
  ASSIGN_OR_RETURN(auto layers,
                   SolverLayers::New(bench, 1, rows, n, sizes.group));
  RETURN_IF_ERROR(bench->Operations(
      absl::StrCat("factor of ", SizeOf(n, n)), Cube(n, n, n) / 3,
      [&] { return layers->Factor(); }, Units::kFloat64));
  RETURN_IF_ERROR(BenchFastMatrix(sizes, bench));
  ASSIGN_OR_RETURN(const DeviceBuffer b, bench->Allocate(8 * rows * n));
  RETURN_IF_ERROR(bench->stream()->Fill(0, b.n_bytes(), b.data()));
  SolveRowsTask solve;
  solve.r = layers->r();
  solve.n = n;
  solve.b = b.as<double>();
  solve.n_rows = rows;
  RETURN_IF_ERROR(bench->Operations(
      absl::StrCat("rows through that factor, ", rows), 2 * Cube(rows, n, n),
      [&] { return RunSolveRows(solve, bench->stream()); }, Units::kFloat64));
  RETURN_IF_ERROR(
      bench->Bytes(absl::StrCat("search of scales, groups of ", sizes.group),
                   4 * Cube(rows, n, 1), [&] { return layers->FitGroups(); }));
  RETURN_IF_ERROR(bench->Operations(
      absl::StrCat("error feedback, ", SizeOf(rows, n)), Cube(rows, n, n),
      [&] { return layers->Feed(); }, Units::kFloat32));
  // The gradient twice, and every column's changes to all others.
  return bench->Operations(
      absl::StrCat("a round of descent, ", SizeOf(rows, n)),
      6 * Cube(rows, n, n), [&] { return layers->Descend(1); },
      Units::kFloat32);
}

absl::Status BenchExperts(const SolverSizes& sizes, Bench* bench) {
  const int64_t n = sizes.n_experts;
  const int64_t cols = sizes.expert_cols;
  const std::string size = SizeOf(sizes.expert_rows, cols);
  ASSIGN_OR_RETURN(auto all, SolverLayers::New(bench, n, sizes.expert_rows,
                                               cols, sizes.group));
  ASSIGN_OR_RETURN(auto one, SolverLayers::New(bench, 1, sizes.expert_rows,
                                               cols, sizes.group));
  RETURN_IF_ERROR(bench->Operations(
      absl::StrCat("factors of ", n, " experts"),
      static_cast<double>(n) * Cube(cols, cols, cols) / 3,
      [&] { return all->Factor(); }, Units::kFloat64));
  ASSIGN_OR_RETURN(auto fast, FastLinalg::Open(bench->device()));
  if (fast->solver() != nullptr) {
    ASSIGN_OR_RETURN(auto by_library,
                     SolverLayers::New(bench, n, sizes.expert_rows, cols,
                                       sizes.group, fast.get()));
    RETURN_IF_ERROR(bench->Operations(
        absl::StrCat("... by ", fast->solver()->name()),
        static_cast<double>(n) * Cube(cols, cols, cols) / 3,
        [&] { return by_library->Factor(); }, Units::kFloat64));
  }
  RETURN_IF_ERROR(bench->Gain(
      absl::StrCat("factors of ", n, " experts in one pass"), n,
      [&] { return one->Factor(); }, [&] { return all->Factor(); }));
  const std::string name =
      absl::StrCat(n, " experts of ", size, " solved in one pass");
  RETURN_IF_ERROR(bench->Gain(
      name, n, [&] { return one->Solve(1); }, [&] { return all->Solve(1); }));
  bench->summary()->AtLeast(
      absl::StrCat(name, ", beside one by one"), 20, bench->last_rate(),
      "times as fast",
      absl::StrCat(1000 * bench->last_seconds(), " ms for all of them"));
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchSolvers(const Device& device, const SolverSizes& sizes,
                          BenchSummary* summary) {
  // The largest operand, doubles counted twice.
  const int64_t n_floats = std::max(
      {sizes.n_tokens * sizes.n_cols, 2 * sizes.n_cols * sizes.n_cols,
       sizes.n_rows * sizes.n_cols, sizes.expert_rows * sizes.expert_cols});
  ASSIGN_OR_RETURN(auto bench, Bench::New(device, n_floats, summary));
  RETURN_IF_ERROR(BenchChains(sizes, bench.get()));
  RETURN_IF_ERROR(BenchMatrix(sizes, bench.get()));
  RETURN_IF_ERROR(BenchHqq(sizes, bench.get()));
  RETURN_IF_ERROR(BenchRuns(sizes, bench.get()));
  return BenchExperts(sizes, bench.get());
}

}  // namespace narrow
