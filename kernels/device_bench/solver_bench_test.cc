// The benchmarks run, at small sizes on the CPU's device.

#include "kernels/device_bench/solver_bench.h"

#include <gtest/gtest.h>

namespace narrow {
namespace {

TEST(SolverBenchTest, RunsOnTheProcessor) {
  SolverSizes sizes;
  sizes.n_tokens = 64;
  sizes.n_rows = 16;
  sizes.n_cols = 64;
  sizes.group = 32;
  sizes.n_experts = 2;
  sizes.expert_rows = 8;
  sizes.expert_cols = 32;
  const absl::Status status = BenchSolvers(Device::Cpu(), sizes);
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace narrow
