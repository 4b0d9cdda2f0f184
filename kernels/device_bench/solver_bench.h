// How fast a device does the arithmetic of solvers, each step against its
// limit: operations of the plain units, as bits are the processor's, or bytes
// of memory.

#ifndef NARROW_KERNELS_DEVICE_BENCH_SOLVER_BENCH_H_
#define NARROW_KERNELS_DEVICE_BENCH_SOLVER_BENCH_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/device_bench/bench.h"

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

// A model whose layers are solved: by default Llama-3-8B, with 128 samples of
// 2048 tokens.
struct GptqSizes {
  int64_t n_layers = 32;
  int64_t n_tokens = 128 * 2048;
  int64_t width = 4096;
  int64_t kv_width = 1024;
  int64_t inner = 14336;
  int64_t group = 128;
  int rounds = 3;  // of descent
};

// Prints a line for each. `seconds_a_token` is that of a forward pass through
// all layers, 0 if it is not known.
absl::Status BenchSolvers(const Device& device, const SolverSizes& sizes,
                          BenchSummary* summary);
absl::Status BenchGptq(const Device& device, const GptqSizes& sizes,
                       double seconds_a_token, BenchSummary* summary);

// Two of its parts: HQQ's search; weights under one scale, a block or row of
// them.
absl::Status BenchHqq(const SolverSizes& sizes, Bench* bench);
absl::Status BenchRuns(const SolverSizes& sizes, Bench* bench);

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_BENCH_SOLVER_BENCH_H_
