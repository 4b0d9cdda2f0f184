#include "kernels/device_bench/solver_bench.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/device_bench/bench.h"
#include "kernels/grid/device/device_grid.h"
#include "kernels/linalg/device/device_chains.h"
#include "kernels/linalg/device/device_factor.h"

namespace narrow {
namespace {

std::string SizeOf(int64_t n_rows, int64_t n_cols) {
  return absl::StrCat(n_rows, " x ", n_cols);
}

double Cube(int64_t a, int64_t b, int64_t c) {
  return static_cast<double>(a) * static_cast<double>(b) *
         static_cast<double>(c);
}

// The matrices that solvers of `n_batch` layers work on: damped Gram matrices
// of random rows in double and float32, their factors, weights.
struct Layers {
  int64_t n_batch = 1;
  int64_t n_rows = 0;
  int64_t n = 0;
  DeviceBuffer metric;   // [n_batch, n, n]
  DeviceBuffer h;        // a copy of it, or its factor
  DeviceBuffer m;        // float32
  DeviceBuffer gram;     // float32
  DeviceBuffer weights;  // [n_batch, n_rows, n]
  std::unique_ptr<DeviceFactors> factors;
  std::unique_ptr<DeviceGrid> grid;
};

class SolverBench {
 public:
  SolverBench(Bench* bench, const SolverSizes& sizes)
      : bench_(*bench), sizes_(sizes), stream_(bench->stream()) {}

  absl::Status Run() {
    RETURN_IF_ERROR(Products());
    RETURN_IF_ERROR(OneMatrix());
    return Experts();
  }

 private:
  absl::StatusOr<DeviceBuffer> Allocate(int64_t n_bytes) {
    return bench_.device().Allocate(static_cast<size_t>(n_bytes), "bench");
  }

  absl::Status Products() {
    const int64_t n = sizes_.n_cols;
    const int64_t m = sizes_.n_tokens;
    const auto narrow_product = chain::GemmNT<float>(
        Update::kSet, m, n, n, bench_.in(), n, bench_.in(), n, bench_.out(), n);
    RETURN_IF_ERROR(bench_.Operations(
        absl::StrCat("chains in float32, ", SizeOf(m, n), " x ", n),
        2 * Cube(m, n, n),
        [&] { return RunChainProduct(narrow_product, stream_); },
        Units::kFloat32));
    const double* const wide = reinterpret_cast<const double*>(bench_.in());
    const auto wide_product =
        chain::Gemm<double>(Update::kSet, m / 4, n, n, wide, n, wide, n,
                            reinterpret_cast<double*>(bench_.out()), n);
    RETURN_IF_ERROR(bench_.Operations(
        absl::StrCat("chains in float64, ", SizeOf(m / 4, n), " x ", n),
        2 * Cube(m / 4, n, n),
        [&] { return RunChainProduct(wide_product, stream_); },
        Units::kFloat64));
    chain::GramTask gram;
    gram.left = gram.right = bench_.in();
    gram.left_stride = gram.right_stride = gram.m = gram.n = n;
    gram.n_rows = m;
    gram.upper = true;
    gram.sums = reinterpret_cast<double*>(bench_.out());
    gram.sums_stride = n;
    RETURN_IF_ERROR(
        stream_->Fill(0, static_cast<size_t>(8 * n * n), bench_.out()));
    return bench_.Operations(
        absl::StrCat("Gram matrix in chains, ", SizeOf(m, n)), Cube(m, n, n),
        [&] { return RunGram(gram, stream_); }, Units::kFloat32);
  }

  absl::StatusOr<Layers> MakeLayers(int64_t n_batch, int64_t n_rows,
                                    int64_t n) {
    Layers layers;
    layers.n_batch = n_batch;
    layers.n_rows = n_rows;
    layers.n = n;
    const int64_t square = n * n;
    ASSIGN_OR_RETURN(layers.metric, Allocate(8 * n_batch * square));
    ASSIGN_OR_RETURN(layers.h, Allocate(8 * n_batch * square));
    ASSIGN_OR_RETURN(layers.m, Allocate(4 * n_batch * square));
    ASSIGN_OR_RETURN(layers.gram, Allocate(4 * n_batch * square));
    ASSIGN_OR_RETURN(layers.weights, Allocate(4 * n_batch * n_rows * n));
    RETURN_IF_ERROR(FillMetric(&layers));
    ASSIGN_OR_RETURN(layers.factors,
                     DeviceFactors::New(bench_.device(), n_batch));
    GridSpec spec;
    spec.group = sizes_.group;
    spec.signed_scales = true;
    ASSIGN_OR_RETURN(layers.grid, DeviceGrid::New(bench_.device(), spec, n_rows,
                                                  n, n_batch));
    for (int64_t b = 0; b < n_batch; ++b) {
      RETURN_IF_ERROR(
          stream_->Copy(bench_.in(), static_cast<size_t>(4 * n_rows * n),
                        layers.weights.as<float>() + b * n_rows * n));
    }
    RETURN_IF_ERROR(
        layers.grid->SetTargets(layers.weights.as<float>(), stream_));
    return layers;
  }

  // Both halves of a matrix of random rows, and 1 on its diagonal.
  absl::Status FillMetric(Layers* layers) {
    const int64_t n = layers->n;
    double* const sums = layers->h.as<double>();
    RETURN_IF_ERROR(stream_->Fill(0, layers->h.n_bytes(), sums));
    chain::GramTask gram;
    gram.left = gram.right = bench_.in();
    gram.left_stride = gram.right_stride = gram.m = gram.n = n;
    gram.n_rows = std::min(2 * n, bench_.n_floats() / n);
    gram.sums = sums;
    gram.sums_stride = n;
    RETURN_IF_ERROR(RunGram(gram, stream_));
    for (int64_t b = 0; b < layers->n_batch; ++b) {
      factor::MetricTask task = {};
      task.n_matrix = n;
      task.gram = sums;
      task.damping = static_cast<double>(n);
      task.unit = static_cast<double>(n);
      task.wide = layers->metric.as<double>() + b * n * n;
      RETURN_IF_ERROR(RunFactorPass(task, stream_));
      task.wide = nullptr;
      task.floats = layers->gram.as<float>() + b * n * n;
      RETURN_IF_ERROR(RunFactorPass(task, stream_));
    }
    return stream_->Synchronize("bench");
  }

  // From the damped matrices on to unit factors.
  absl::Status Factor(Layers* layers) {
    const int64_t n = layers->n;
    RETURN_IF_ERROR(stream_->Copy(layers->metric.data(),
                                  layers->metric.n_bytes(), layers->h.data()));
    RETURN_IF_ERROR(layers->factors->FactorUpper(n, layers->h.as<double>(),
                                                 n * n, stream_));
    return RunFactorPass(
        factor::UnitTask{n, layers->n_batch, layers->h.as<double>(), n * n,
                         layers->m.as<float>(), n * n, nullptr, nullptr},
        stream_);
  }
  absl::Status Feed(Layers* layers) {
    DeviceFeed feed;
    feed.m = layers->m.as<float>();
    return layers->grid->Feedback(feed, stream_);
  }
  absl::Status Descend(Layers* layers) {
    DeviceDescent once;
    once.rounds = 1;
    return layers->grid->Descend(layers->gram.as<float>(), once, stream_)
        .status();
  }
  absl::Status Solve(Layers* layers) {
    RETURN_IF_ERROR(Factor(layers));
    RETURN_IF_ERROR(layers->grid->FitGroups(nullptr, {}, stream_));
    RETURN_IF_ERROR(Feed(layers));
    return Descend(layers);
  }

  absl::Status OneMatrix() {
    const int64_t n = sizes_.n_cols;
    const int64_t rows = sizes_.n_rows;
    ASSIGN_OR_RETURN(Layers layers, MakeLayers(1, rows, n));
    RETURN_IF_ERROR(bench_.Operations(
        absl::StrCat("factor of ", SizeOf(n, n)), Cube(n, n, n) / 3,
        [&] { return Factor(&layers); }, Units::kFloat64));
    ASSIGN_OR_RETURN(const DeviceBuffer b, Allocate(8 * rows * n));
    RETURN_IF_ERROR(stream_->Fill(0, b.n_bytes(), b.data()));
    SolveRowsTask solve;
    solve.r = layers.h.as<double>();
    solve.n = n;
    solve.b = b.as<double>();
    solve.n_rows = rows;
    RETURN_IF_ERROR(bench_.Operations(
        absl::StrCat("rows through that factor, ", rows), 2 * Cube(rows, n, n),
        [&] { return RunSolveRows(solve, stream_); }, Units::kFloat64));
    RETURN_IF_ERROR(bench_.Bytes(
        absl::StrCat("search of scales, groups of ", sizes_.group),
        4 * Cube(rows, n, 1),
        [&] { return layers.grid->FitGroups(nullptr, {}, stream_); }));
    RETURN_IF_ERROR(bench_.Operations(
        absl::StrCat("error feedback, ", SizeOf(rows, n)), Cube(rows, n, n),
        [&] { return Feed(&layers); }, Units::kFloat32));
    // The gradient twice, and every column's changes to all others.
    return bench_.Operations(
        absl::StrCat("a round of descent, ", SizeOf(rows, n)),
        6 * Cube(rows, n, n), [&] { return Descend(&layers); },
        Units::kFloat32);
  }

  absl::Status Experts() {
    const int64_t n = sizes_.n_experts;
    ASSIGN_OR_RETURN(Layers all,
                     MakeLayers(n, sizes_.expert_rows, sizes_.expert_cols));
    ASSIGN_OR_RETURN(Layers one,
                     MakeLayers(1, sizes_.expert_rows, sizes_.expert_cols));
    return bench_.Gain(
        absl::StrCat(n, " experts of ",
                     SizeOf(sizes_.expert_rows, sizes_.expert_cols),
                     " solved in one pass"),
        n, [&] { return Solve(&one); }, [&] { return Solve(&all); });
  }

  Bench& bench_;
  const SolverSizes sizes_;
  DeviceStream* const stream_;
};

}  // namespace

absl::Status BenchSolvers(const Device& device, const SolverSizes& sizes) {
  // The largest operand, doubles counted twice.
  const int64_t n_floats = std::max(
      {sizes.n_tokens * sizes.n_cols, 2 * sizes.n_cols * sizes.n_cols,
       sizes.n_rows * sizes.n_cols, sizes.expert_rows * sizes.expert_cols});
  ASSIGN_OR_RETURN(auto bench, Bench::New(device, n_floats));
  return SolverBench(bench.get(), sizes).Run();
}

}  // namespace narrow
