// Starts the passes of expert_threads.h on a card, in a stream that is a
// cudaStream_t. In a build without CUDA they are Unimplemented.

#ifndef NARROW_KERNELS_EXPERTS_DEVICE_EXPERT_LAUNCH_H_
#define NARROW_KERNELS_EXPERTS_DEVICE_EXPERT_LAUNCH_H_

#include "absl/status/status.h"
#include "kernels/experts/device/expert_threads.h"

namespace narrow {
namespace expert_threads {

absl::Status Launch(const GatherTask& task, void* stream);
absl::Status Launch(const CombineTask& task, void* stream);

}  // namespace expert_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_EXPERTS_DEVICE_EXPERT_LAUNCH_H_
