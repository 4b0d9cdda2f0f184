// Products of float32 matrices on tensor cores: every number is the sum of two
// bfloat16 numbers, but for 2^-17 of itself, and of the four products of parts
// the three that matter are one product of three times the depth.
//
//   StackedProducts stacked(device, products);
//   RETURN_IF_ERROR(stacked.Add(product, &stream));
//
// Float32 sums, in the order of whatever multiplies: last digits are its own.
// For what must have the processor's bits there is kernels/linalg/device. One
// thread and stream at a time.

#ifndef NARROW_KERNELS_MATMUL_DEVICE_STACKED_PRODUCTS_H_
#define NARROW_KERNELS_MATMUL_DEVICE_STACKED_PRODUCTS_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "kernels/matmul/device/device_products.h"
#include "kernels/matmul/device/stack_threads.h"

namespace narrow {

// out[i, j] += sum over k of left[k, i] right[k, j], for each of a batch.
struct StackedProduct {
  const float* left = nullptr;  // [depth, n_rows], lines left_stride apart
  int64_t left_stride = 0;
  const float* right = nullptr;  // [depth, n_cols]
  int64_t right_stride = 0;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  int64_t depth = 0;
  float* out = nullptr;
  int64_t out_row = 0;
  int64_t n_batch = 1;
  int64_t left_step = 0;
  int64_t right_step = 0;
  int64_t out_step = 0;
};

class StackedProducts {
 public:
  // `products` must outlive it.
  StackedProducts(const Device& device, DeviceProducts* products)
      : device_(device), products_(products) {}

  // ResourceExhausted: no memory for the parts, some 12 bytes for each number
  // of a piece of both operands; depth is cut into pieces of at most `budget`
  // bytes.
  absl::Status Add(const StackedProduct& product, DeviceStream* stream,
                   int64_t budget = int64_t{256} << 20);

 private:
  absl::Status AddPiece(const StackedProduct& product, DeviceStream* stream);

  const Device device_;
  DeviceProducts* const products_;
  DeviceBuffer left_;
  DeviceBuffer right_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_STACKED_PRODUCTS_H_
