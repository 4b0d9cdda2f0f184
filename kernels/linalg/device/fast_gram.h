// Gram matrices and cross moments on tensor cores: RunGram's sums of rows that
// are rounded to bfloat16, as the products of a fast forward pass see them.
//
//   FastGrams grams(device, products);
//   RETURN_IF_ERROR(grams.Add(task, &stream));
//
// Blocks of kBlockRows rows are summed in float32, blocks in double. Rounding
// moves an input by 2^-8 of itself at most, so that a diagonal grows by some
// 2^-18 of itself: what a solver adds to it as damping is thousands of times
// that. One thread and stream at a time.

#ifndef NARROW_KERNELS_LINALG_DEVICE_FAST_GRAM_H_
#define NARROW_KERNELS_LINALG_DEVICE_FAST_GRAM_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/device.h"
#include "kernels/linalg/device/chain_threads.h"
#include "kernels/matmul/device/device_products.h"

namespace narrow {

class FastGrams {
 public:
  static constexpr int64_t kBlockRows = 2048;
  static constexpr int64_t kPanelCols = 1024;

  // `products` must outlive it.
  FastGrams(const Device& device, DeviceProducts* products)
      : device_(device), products_(products) {}

  // As RunGram; rows are rounded with the root of their weight, which is not
  // below 0, so that no sum of a row with itself is. ResourceExhausted: the
  // device's memory, of which it keeps 4 kBlockRows (m + n) + 4 kPanelCols m
  // bytes at most. REQUIRES: one of a batch, without offsets.
  absl::Status Add(const chain::GramTask& task, DeviceStream* stream);
  // The memory for that, before: ResourceExhausted then leaves all as it was.
  absl::Status Reserve(const chain::GramTask& task);

 private:
  absl::Status AddBlock(const chain::GramTask& task, int64_t first,
                        int64_t n_rows, DeviceStream* stream);

  const Device device_;
  DeviceProducts* const products_;
  DeviceBuffer left_;
  DeviceBuffer right_;
  DeviceBuffer panel_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_DEVICE_FAST_GRAM_H_
