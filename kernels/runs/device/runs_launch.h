// Starts the tasks of this folder on a card, in a stream that is a
// cudaStream_t. In a build without CUDA they are Unimplemented.

#ifndef NARROW_KERNELS_RUNS_DEVICE_RUNS_LAUNCH_H_
#define NARROW_KERNELS_RUNS_DEVICE_RUNS_LAUNCH_H_

#include "absl/status/status.h"
#include "kernels/runs/device/block_threads.h"
#include "kernels/runs/device/span_threads.h"

namespace narrow {
namespace run_threads {

#define NARROW_RUN_TASK(type) \
  absl::Status Launch(const type& task, void* stream);
#define NARROW_RUN_TEAMS(type) NARROW_RUN_TASK(type)
#include "kernels/runs/device/tasks.inc"
#undef NARROW_RUN_TEAMS
#undef NARROW_RUN_TASK

// Calls body(Grid*) with the grid's own type, which is not looked at.
template <typename Body>
auto WithGridOf(RunGrid::Kind kind, const Body& body) {
  switch (kind) {
    case RunGrid::Kind::kE4M3:
      return body(static_cast<run_lanes::E4M3Grid*>(nullptr));
    case RunGrid::Kind::kE2M1:
      return body(static_cast<run_lanes::E2M1Grid*>(nullptr));
    case RunGrid::Kind::kTable:
      return body(static_cast<run_lanes::TableGrid*>(nullptr));
    case RunGrid::Kind::kInteger:
      break;
  }
  return body(static_cast<run_lanes::IntegerGrid*>(nullptr));
}

}  // namespace run_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_RUNS_DEVICE_RUNS_LAUNCH_H_
