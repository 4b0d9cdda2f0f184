// The products and Gram matrices of kernels/linalg on a device, with the very
// bits of Gemm, GemmNT, AddGram and AddCross.
//
//   RETURN_IF_ERROR(RunChainProduct(
//       chain::GemmNT(Update::kSet, m, n, k, a, lda, b, ldb, c, ldc),
//       &stream));
//   RETURN_IF_ERROR(RunGram(task, &stream));
//
// On a card in the stream, on the CPU's device at once, thread after thread;
// pointers in tasks are the device's. Sizes of 0 leave nothing to do.

#ifndef NARROW_KERNELS_LINALG_DEVICE_DEVICE_CHAINS_H_
#define NARROW_KERNELS_LINALG_DEVICE_DEVICE_CHAINS_H_

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/linalg/device/chain_threads.h"

namespace narrow {

// InvalidArgument for more tiles or products than a launch can count.
absl::Status RunChainProduct(const chain::Product<float>& product,
                             DeviceStream* stream);
absl::Status RunChainProduct(const chain::Product<double>& product,
                             DeviceStream* stream);

// As AddGram (upper, left == right) or AddCross, for each batch.
absl::Status RunGram(const chain::GramTask& task, DeviceStream* stream);

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_DEVICE_DEVICE_CHAINS_H_
