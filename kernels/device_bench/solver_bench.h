// How fast a device does the arithmetic of solvers, each step against its
// limit: operations of the plain units, as bits are the processor's.

#ifndef NARROW_KERNELS_DEVICE_BENCH_SOLVER_BENCH_H_
#define NARROW_KERNELS_DEVICE_BENCH_SOLVER_BENCH_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/device.h"

namespace narrow {

// By default a matrix of a Llama-3-8B block on int4 of groups of 128, and the
// experts of a block of Qwen3-30B-A3B.
struct SolverSizes {
  int64_t n_tokens = 8192;  // of a Gram matrix
  int64_t n_rows = 4096;
  int64_t n_cols = 4096;
  int64_t group = 128;
  int64_t n_experts = 128;
  int64_t expert_rows = 768;
  int64_t expert_cols = 2048;
};

// Prints a line for each.
absl::Status BenchSolvers(const Device& device, const SolverSizes& sizes);

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_BENCH_SOLVER_BENCH_H_
