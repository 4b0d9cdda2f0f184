// The benchmarks run, at small sizes on the CPU's device.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/device_bench/encode_bench.h"
#include "kernels/device_bench/forward_bench.h"
#include "kernels/device_bench/solver_bench.h"

namespace narrow {
namespace {

using testing::HasSubstr;

TEST(ForwardBenchTest, RunsOnTheProcessor) {
  ForwardSizes sizes;
  sizes.n_tokens = 64;
  sizes.sequence = 32;
  sizes.width = 128;
  sizes.n_heads = 4;
  sizes.n_kv_heads = 2;
  sizes.vocab = 512;
  sizes.n_experts = 4;
  sizes.n_used = 2;
  sizes.expert_width = 48;
  sizes.n_layers = 3;
  sizes.inner = 160;
  sizes.full_vocab = 1000;
  sizes.slice = 64;
  BenchSummary summary;
  const auto seconds = BenchForward(Device::Cpu(), sizes, &summary);
  ASSERT_TRUE(seconds.ok()) << seconds.status();
  EXPECT_GT(*seconds, 0);
  EXPECT_THAT(summary.Table(), HasSubstr("| perplexity of a Llama-3-8B"));
}

TEST(SolverBenchTest, RunsOnTheProcessor) {
  SolverSizes sizes;
  sizes.n_tokens = 64;
  sizes.n_rows = 16;
  sizes.n_cols = 64;
  sizes.group = 32;
  sizes.n_experts = 2;
  sizes.expert_rows = 8;
  sizes.expert_cols = 32;
  BenchSummary summary;
  const absl::Status status = BenchSolvers(Device::Cpu(), sizes, &summary);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(summary.Table(), HasSubstr("| 2 experts of 8 x 32 solved"));
}

TEST(SolverBenchTest, SumsUpAModel) {
  GptqSizes sizes;
  sizes.n_layers = 2;
  sizes.n_tokens = 32;
  sizes.width = 32;
  sizes.kv_width = 16;
  sizes.inner = 48;
  sizes.group = 16;
  sizes.rounds = 1;
  BenchSummary summary;
  const absl::Status status = BenchGptq(Device::Cpu(), sizes, 1.0, &summary);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(summary.Table(), HasSubstr("forward passes 64.0 s | met |"));
}

TEST(EncodeBenchTest, RunsOnTheProcessor) {
  BenchSummary summary;
  const absl::Status status = BenchEncode(Device::Cpu(), 4096, &summary);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(summary.Table(), HasSubstr("| q4_k encoded, bfloat16 in | at "
                                         "least 100 GB/s | "));
}

TEST(BenchSummaryTest, TellsWhatIsMet) {
  BenchSummary summary;
  summary.AtLeast("a", 10, 12.34, "GB/s", "half of it");
  summary.AtLeast("b", 10, 9, "GB/s", "x");
  summary.AtMost("c", 120, 119.5, "s", "y");
  summary.AtMost("d", 120, 121, "s", "y");
  summary.Add("e", 3, "ms", "z");
  EXPECT_EQ(summary.Table(),
            "| what | asked | reached | bound | |\n"
            "| --- | --- | --- | --- | --- |\n"
            "| a | at least 10 GB/s | 12.34 GB/s | half of it | met |\n"
            "| b | at least 10 GB/s | 9 GB/s | x | not met |\n"
            "| c | at most 120 s | 119.5 s | y | met |\n"
            "| d | at most 120 s | 121 s | y | not met |\n"
            "| e | – | 3 ms | z | – |\n");
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
