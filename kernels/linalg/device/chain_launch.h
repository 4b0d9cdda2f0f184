// Starts the kernels of chain_threads.h and gram_threads.h on a card, in a
// stream that is a cudaStream_t. In a build without CUDA they are
// Unimplemented.

#ifndef NARROW_KERNELS_LINALG_DEVICE_CHAIN_LAUNCH_H_
#define NARROW_KERNELS_LINALG_DEVICE_CHAIN_LAUNCH_H_

#include "absl/status/status.h"
#include "kernels/linalg/device/chain_threads.h"

namespace narrow {
namespace chain {

absl::Status Launch(const Product<float>& product, void* stream);
absl::Status Launch(const Product<double>& product, void* stream);
absl::Status Launch(const GramTask& task, void* stream);

}  // namespace chain
}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_DEVICE_CHAIN_LAUNCH_H_
