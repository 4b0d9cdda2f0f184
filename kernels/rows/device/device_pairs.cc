#include "kernels/rows/device/device_pairs.h"

#include <algorithm>
#include <memory>

namespace narrow {
namespace {

using pair_threads::kPairThreads;
using pair_threads::PairSums;
using pair_threads::PairTask;

template <int kPhase>
void RunPhases(const PairTask& task, int64_t row, PairSums* sums) {
  if constexpr (kPhase < PairTask::kPhases) {
    for (int thread = 0; thread < kPairThreads; ++thread) {
      task.Run<kPhase>(row, thread, sums);
    }
    RunPhases<kPhase + 1>(task, row, sums);
  }
}

}  // namespace

absl::Status BeginPairs(int64_t n_rows, pair_threads::PairScore* scores,
                        DeviceStream* stream) {
  if (stream->kind() == DeviceKind::kCuda) {
    return n_rows == 0
               ? absl::OkStatus()
               : pair_threads::LaunchBegin(n_rows, scores, stream->handle());
  }
  std::fill_n(scores, n_rows, pair_threads::PairScore());
  return absl::OkStatus();
}

absl::Status RunPairs(const PairTask& task, DeviceStream* stream) {
  if (task.n_rows == 0 || task.n == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return pair_threads::Launch(task, stream->handle());
  }
  const auto sums = std::make_unique<PairSums>();
  for (int64_t row = 0; row < task.n_rows; ++row) {
    RunPhases<0>(task, row, sums.get());
  }
  return absl::OkStatus();
}

}  // namespace narrow
