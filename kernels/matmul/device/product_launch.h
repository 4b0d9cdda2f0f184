// Starts the kernels of products on a card, in a stream that is a
// cudaStream_t; pointers are the card's. In a build without CUDA they are
// Unimplemented.

#ifndef NARROW_KERNELS_MATMUL_DEVICE_PRODUCT_LAUNCH_H_
#define NARROW_KERNELS_MATMUL_DEVICE_PRODUCT_LAUNCH_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/matmul/device/stack_threads.h"
#include "kernels/matmul/device/tensor_tile.h"
#include "kernels/matmul/device/tile_threads.h"

namespace narrow {
namespace tile {

absl::Status LaunchProduct(const Product& product, void* stream);
// REQUIRES: tensor_tile::Fits(task).
absl::Status LaunchTensorProduct(const tensor_tile::Task& task, void* stream);
// Before a product that adds to `out`: bias, or what is there and bias.
absl::Status LaunchBeginBias(const Product& product, void* stream);
// Part `part` of n numbers, see PartOf.
absl::Status LaunchSplit(const float* values, int64_t n, int part,
                         uint16_t* out, void* stream);
absl::Status LaunchEach(const StackTask& task, void* stream);
absl::Status LaunchEach(const RoundTask& task, void* stream);
absl::Status LaunchEach(const PanelTask& task, void* stream);
// sums[i] += values[i].
absl::Status LaunchAddWide(const float* values, int64_t n, double* sums,
                           void* stream);

}  // namespace tile
}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_PRODUCT_LAUNCH_H_
