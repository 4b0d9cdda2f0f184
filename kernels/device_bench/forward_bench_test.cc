// The benchmarks run, at small sizes on the CPU's device.

#include "kernels/device_bench/forward_bench.h"

#include <gtest/gtest.h>

namespace narrow {
namespace {

TEST(ForwardBenchTest, RunsOnTheProcessor) {
  ForwardSizes sizes;
  sizes.n_tokens = 64;
  sizes.sequence = 32;
  sizes.width = 64;
  sizes.n_heads = 4;
  sizes.n_kv_heads = 2;
  sizes.vocab = 512;
  sizes.n_experts = 4;
  sizes.n_used = 2;
  sizes.expert_width = 48;
  const absl::Status status = BenchForward(Device::Cpu(), sizes);
  EXPECT_TRUE(status.ok()) << status;
}

TEST(PeakOperationsTest, IsThatOfTheTables) {
  DeviceTraits traits;
  EXPECT_EQ(PeakOperations(traits), 0);
  // An H100 SXM: 132 multiprocessors at 1.83 GHz, 989 TFLOP/s.
  traits.compute_major = 9;
  traits.n_multiprocessors = 132;
  traits.clock_hz = 1.83e9;
  EXPECT_NEAR(PeakOperations(traits), 989e12, 1e12);
  EXPECT_NEAR(PeakOperations(traits, Units::kFloat32), 62e12, 1e12);
  EXPECT_NEAR(PeakOperations(traits, Units::kFloat64), 31e12, 1e12);
  // An A100: 108 at 1.41 GHz, 312 TFLOP/s.
  traits.compute_major = 8;
  traits.n_multiprocessors = 108;
  traits.clock_hz = 1.41e9;
  EXPECT_NEAR(PeakOperations(traits), 312e12, 1e12);
}

}  // namespace
}  // namespace narrow
