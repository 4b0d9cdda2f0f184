// Starts the passes of row_threads.h on a card, in a stream that is a
// cudaStream_t. In a build without CUDA they are Unimplemented.

#ifndef NARROW_KERNELS_ROWS_DEVICE_ROW_LAUNCH_H_
#define NARROW_KERNELS_ROWS_DEVICE_ROW_LAUNCH_H_

#include "absl/status/status.h"
#include "kernels/rows/device/row_threads.h"

namespace narrow {
namespace row_threads {

absl::Status Launch(const NormTask& task, void* stream);
absl::Status Launch(const FiniteTask& task, void* stream);
absl::Status Launch(const ScoreTask& task, void* stream);
absl::Status Launch(const SoftmaxTask& task, void* stream);
absl::Status Launch(const CrossTask& task, void* stream);
absl::Status Launch(const GateTask& task, void* stream);
absl::Status Launch(const RotateTask& task, void* stream);
absl::Status Launch(const MixTask& task, void* stream);
absl::Status Launch(const BiasTask& task, void* stream);
absl::Status Launch(const ColumnsTask& task, void* stream);
absl::Status Launch(const MagnitudesTask& task, void* stream);
absl::Status Launch(const PickTask& task, void* stream);

}  // namespace row_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_ROWS_DEVICE_ROW_LAUNCH_H_
