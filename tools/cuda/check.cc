// Everything that needs a card, in one program that can be carried to one:
// the differential tests and, with --bench, the benchmarks.
//
//   bazel build -c opt --define=cuda=1 //tools/cuda:check
//   ./check                  # tests; exit code 1 if one fails, 3 without card
//   ./check --bench          # and how fast it is, with a table at the end
//   ./check --gtest_filter=DeviceEncode*
//
// See tools/cuda_check.sh.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "kernels/device.h"
#include "kernels/device_bench/encode_bench.h"
#include "kernels/device_bench/forward_bench.h"
#include "kernels/device_bench/solver_bench.h"

namespace {

constexpr int64_t kBenchWeights = int64_t{1} << 28;  // 512 MiB of bfloat16
constexpr int kNoCard = 3;

absl::Status Bench(const narrow::Device& device,
                   narrow::BenchSummary* summary) {
  const absl::StatusOr<double> seconds_a_token =
      narrow::BenchForward(device, {}, summary);
  absl::Status status = seconds_a_token.status();
  if (status.ok()) {
    status = narrow::BenchSolvers(device, {}, summary);
  }
  if (status.ok()) {
    status = narrow::BenchGptq(device, {}, *seconds_a_token, summary);
  }
  return status.ok() ? narrow::BenchEncode(device, kBenchWeights, summary)
                     : status;
}

int Run(bool bench) {
  const absl::StatusOr<narrow::Device> device =
      narrow::OpenDevice(narrow::DeviceChoice::kCuda);
  if (!device.ok()) {
    std::printf("no card: %s\n", device.status().ToString().c_str());
  } else {
    std::printf("%s\n", device->Description().c_str());
  }
  const int failed = RUN_ALL_TESTS();
  if (!device.ok() || failed != 0) {
    return failed != 0 ? 1 : kNoCard;
  }
  if (bench) {
    narrow::BenchSummary summary;
    const absl::Status status = Bench(*device, &summary);
    summary.Print();
    if (!status.ok()) {
      std::printf("%s\n", status.ToString().c_str());
      return 1;
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  bool bench = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--bench") == 0) {
      bench = true;
    } else {
      std::fprintf(stderr, "unknown argument %s; there is --bench\n", argv[i]);
      return 2;
    }
  }
  return Run(bench);
}
