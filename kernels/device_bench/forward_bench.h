// How fast a device multiplies, makes Gram matrices, norms and attends.

#ifndef NARROW_KERNELS_DEVICE_BENCH_FORWARD_BENCH_H_
#define NARROW_KERNELS_DEVICE_BENCH_FORWARD_BENCH_H_

#include "absl/status/status.h"
#include "kernels/device.h"

namespace narrow {

// Prints a line for each: operations or bytes a second, the median of a few,
// at the sizes of a Llama-3-8B block.
absl::Status BenchForward(const Device& device);

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_BENCH_FORWARD_BENCH_H_
