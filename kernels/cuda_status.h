// Errors of the CUDA runtime as statuses. For .cu sources.
//
//   RETURN_IF_ERROR(CudaStatus(cudaMalloc(&data, n), "cudaMalloc"));
//   Kernel<<<n_blocks, n_threads, 0, stream>>>(...);
//   return LaunchStatus("Kernel");

#ifndef NARROW_KERNELS_CUDA_STATUS_H_
#define NARROW_KERNELS_CUDA_STATUS_H_

#include <cuda_runtime_api.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace narrow {

// "cudaMalloc: out of memory (error 2, cudaErrorMemoryAllocation)".
// ResourceExhausted for memory, Internal for all else.
absl::Status CudaStatus(cudaError_t error, absl::string_view call);

// Of the launch just made: what its arguments or the card's limits forbid.
// What goes wrong while it runs is seen when its stream is synchronized.
absl::Status LaunchStatus(absl::string_view kernel);

}  // namespace narrow

#endif  // NARROW_KERNELS_CUDA_STATUS_H_
