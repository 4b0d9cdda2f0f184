// The divergence of two models' logits on a device: pair_threads.h on a card,
// in the stream, or on the CPU at once.
//
//   RETURN_IF_ERROR(BeginPairs(n_rows, scores, &stream));
//   for (...)                               // slices of the vocabulary
//     RETURN_IF_ERROR(RunPairs(task, &stream));
//   ... copy the scores to the host ...
//   divergence = scores[row].Divergence();

#ifndef NARROW_KERNELS_ROWS_DEVICE_DEVICE_PAIRS_H_
#define NARROW_KERNELS_ROWS_DEVICE_DEVICE_PAIRS_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/rows/device/pair_threads.h"

namespace narrow {

// Scores of rows of which nothing is known, on the device.
absl::Status BeginPairs(int64_t n_rows, pair_threads::PairScore* scores,
                        DeviceStream* stream);
absl::Status RunPairs(const pair_threads::PairTask& task, DeviceStream* stream);

namespace pair_threads {

// On a card, in a cudaStream_t; Unimplemented in a build without CUDA.
absl::Status LaunchBegin(int64_t n_rows, PairScore* scores, void* stream);
absl::Status Launch(const PairTask& task, void* stream);

}  // namespace pair_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_ROWS_DEVICE_DEVICE_PAIRS_H_
