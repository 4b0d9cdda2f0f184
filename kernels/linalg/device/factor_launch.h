// Starts the kernels of factor_threads.h on a card, in a stream that is a
// cudaStream_t. In a build without CUDA they are Unimplemented.

#ifndef NARROW_KERNELS_LINALG_DEVICE_FACTOR_LAUNCH_H_
#define NARROW_KERNELS_LINALG_DEVICE_FACTOR_LAUNCH_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/linalg/device/factor_threads.h"

namespace narrow {
namespace factor {

// One of each in a batch: the first, and how far the others lie apart, in
// elements.
struct SquareBatch {
  Square square;
  int64_t n_batch;
  int64_t h_step;
};
struct BlockBatch {
  Block block;
  int64_t n_batch;
  int64_t r_step;
  int64_t rows_step;
};

// Rows that a block of threads solves.
inline constexpr int kSolveRows = 64;

absl::Status Launch(const SquareBatch& squares, void* stream);
absl::Status Launch(const BlockBatch& blocks, void* stream);
absl::Status Launch(const ZeroBelowTask& task, void* stream);
absl::Status Launch(const ReverseTask& task, void* stream);
absl::Status Launch(const OutcomeTask& task, void* stream);
absl::Status Launch(const UnitTask& task, void* stream);
absl::Status Launch(const MetricTask& task, void* stream);
absl::Status Launch(const WidenTask& task, void* stream);
absl::Status Launch(const MoveTask& task, void* stream);
absl::Status Launch(const EnergyTask& task, void* stream);
absl::Status Launch(const LimitTask& task, void* stream);

NARROW_CHAIN_FUNCTION Square At(const SquareBatch& squares, int64_t batch) {
  Square square = squares.square;
  square.h += batch * squares.h_step;
  square.outcome += batch;
  return square;
}
NARROW_CHAIN_FUNCTION Block At(const BlockBatch& blocks, int64_t batch) {
  Block block = blocks.block;
  block.r += batch * blocks.r_step;
  block.rows += batch * blocks.rows_step;
  return block;
}

}  // namespace factor
}  // namespace narrow

#endif  // NARROW_KERNELS_LINALG_DEVICE_FACTOR_LAUNCH_H_
