// What benchmarks of solvers work on: layers of one shape with damped Gram
// matrices of random rows, their factors, weights on a grid of int4.
//
//   ASSIGN_OR_RETURN(auto layers, SolverLayers::New(bench, 1, rows, n, 128));
//   RETURN_IF_ERROR(layers->Factor());
//   RETURN_IF_ERROR(layers->Solve());

#ifndef NARROW_KERNELS_DEVICE_BENCH_SOLVER_LAYERS_H_
#define NARROW_KERNELS_DEVICE_BENCH_SOLVER_LAYERS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device_bench/bench.h"
#include "kernels/grid/device/device_grid.h"
#include "kernels/linalg/device/device_factor.h"
#include "kernels/linalg/device/fast_linalg.h"

namespace narrow {

// a b c as a number of operations.
double Cube(int64_t a, int64_t b, int64_t c);
// "4096 x 14336".
std::string SizeOf(int64_t n_rows, int64_t n_cols);

class SolverLayers {
 public:
  // Of groups of `group`; by `fast`, if there is one, which must outlive it.
  // REQUIRES: the bench has as many numbers as a layer has weights, and 2 n of
  // them.
  static absl::StatusOr<std::unique_ptr<SolverLayers>> New(
      Bench* bench, int64_t n_batch, int64_t n_rows, int64_t n, int64_t group,
      FastLinalg* fast = nullptr);

  int64_t n_rows() const { return n_rows_; }
  int64_t n() const { return n_; }
  // The factor R, once there is one.
  const double* r() const { return h_.as<double>(); }

  // From the damped matrices on to unit factors.
  absl::Status Factor();
  absl::Status FitGroups();
  absl::Status Feed();
  absl::Status Descend(int rounds);
  // All of it, with so many rounds of descent.
  absl::Status Solve(int rounds);

 private:
  SolverLayers(Bench* bench, int64_t n_batch, int64_t n_rows, int64_t n)
      : bench_(*bench),
        stream_(bench->stream()),
        n_batch_(n_batch),
        n_rows_(n_rows),
        n_(n) {}
  absl::Status FillMetric();

  Bench& bench_;
  DeviceStream* const stream_;
  const int64_t n_batch_;
  const int64_t n_rows_;
  const int64_t n_;
  DeviceBuffer metric_;   // [n_batch, n, n]
  DeviceBuffer h_;        // a copy of it, or its factor
  DeviceBuffer m_;        // float32
  DeviceBuffer gram_;     // float32
  DeviceBuffer weights_;  // [n_batch, n_rows, n]
  std::unique_ptr<DeviceFactors> factors_;
  std::unique_ptr<DeviceGrid> grid_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_BENCH_SOLVER_LAYERS_H_
