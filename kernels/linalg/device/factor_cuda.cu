// The kernels of factors; what a thread does is in factor_threads.h.

#include <cuda_runtime_api.h>

#include "kernels/cuda_status.h"
#include "kernels/linalg/device/factor_launch.h"

namespace narrow {
namespace factor {
namespace {

constexpr int kElementThreads = 256;

__global__ void __launch_bounds__(kBlock) FactorSquare(SquareBatch squares) {
  __shared__ SquareShared shared;
  const Square square = At(squares, blockIdx.x);
  if (square.outcome->failed_at >= 0) {
    return;
  }
  const int row = static_cast<int>(threadIdx.x);
  for (int p = PartsOf(square.n) - 1; p >= 0; --p) {
    const Part part = PartAt(square.n, p);
    const Block rows = square.Rows(part);
    RowPart mine;
    rows.Load(part, row, &mine);
    for (int f = p + 1; f < PartsOf(square.n); ++f) {
      const Part from = PartAt(square.n, f);
      rows.Stage(part, from, row, kBlock, &shared.factors);
      __syncthreads();
      rows.TakeIn(from, shared.factors, row, &mine);
      __syncthreads();
    }
#pragma unroll
    for (int j = kPart - 1; j >= 0; --j) {
      if (part.begin + j < part.end) {
        square.TakePivot(part, j, row, mine, &shared);
        __syncthreads();
        if (shared.failed) {
          return;
        }
        square.Divide(part, j, row, &mine, &shared);
        __syncthreads();
        square.Spread(part, j, row, shared, &mine);
      }
    }
    rows.Store(part, row, mine);
    __syncthreads();
  }
}

template <bool kTransposed>
__global__ void __launch_bounds__(kSolveRows) SolveBlock(BlockBatch blocks) {
  __shared__ Factors factors;
  const Block block = At(blocks, blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kSolveRows + thread;
  const int n_parts = PartsOf(block.n);
  for (int step = 0; step < n_parts; ++step) {
    const int p = kTransposed ? n_parts - 1 - step : step;
    const Part part = PartAt(block.n, p);
    RowPart mine;
    block.Load(part, row, &mine);
    const int first = kTransposed ? p + 1 : 0;
    const int end = kTransposed ? n_parts : p;
    for (int f = first; f < end; ++f) {
      const Part from = PartAt(block.n, f);
      block.Stage(part, from, thread, kSolveRows, &factors);
      __syncthreads();
      block.TakeIn(from, factors, row, &mine);
      __syncthreads();
    }
    block.Stage(part, part, thread, kSolveRows, &factors);
    __syncthreads();
    Block::Solve<kTransposed>(factors, &mine);
    block.Store(part, row, mine);
    __syncthreads();
  }
}

template <class Task>
__global__ void RunEach(const Task task) {
  const int64_t i =
      static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x;
  if (i < task.n()) {
    task.Run(i);
  }
}

template <class Task>
absl::Status LaunchEach(const Task& task, void* stream, const char* name) {
  const int64_t n_blocks = (task.n() + kElementThreads - 1) / kElementThreads;
  RunEach<<<static_cast<unsigned>(n_blocks), kElementThreads, 0,
            static_cast<cudaStream_t>(stream)>>>(task);
  return LaunchStatus(name);
}

}  // namespace

absl::Status Launch(const SquareBatch& squares, void* stream) {
  FactorSquare<<<static_cast<unsigned>(squares.n_batch), kBlock, 0,
                 static_cast<cudaStream_t>(stream)>>>(squares);
  return LaunchStatus("FactorSquare");
}

absl::Status Launch(const BlockBatch& blocks, void* stream) {
  const dim3 grid(static_cast<unsigned>((blocks.block.n_rows + kSolveRows - 1) /
                                        kSolveRows),
                  static_cast<unsigned>(blocks.n_batch));
  const auto queue = static_cast<cudaStream_t>(stream);
  if (blocks.block.transposed) {
    SolveBlock<true><<<grid, kSolveRows, 0, queue>>>(blocks);
  } else {
    SolveBlock<false><<<grid, kSolveRows, 0, queue>>>(blocks);
  }
  return LaunchStatus("SolveBlock");
}

absl::Status Launch(const ZeroBelowTask& task, void* stream) {
  return LaunchEach(task, stream, "ZeroBelow");
}
absl::Status Launch(const ReverseTask& task, void* stream) {
  return LaunchEach(task, stream, "Reverse");
}
absl::Status Launch(const OutcomeTask& task, void* stream) {
  return LaunchEach(task, stream, "Outcome");
}
absl::Status Launch(const UnitTask& task, void* stream) {
  return LaunchEach(task, stream, "Unit");
}
absl::Status Launch(const MetricTask& task, void* stream) {
  return LaunchEach(task, stream, "Metric");
}
absl::Status Launch(const WidenTask& task, void* stream) {
  return LaunchEach(task, stream, "Widen");
}
absl::Status Launch(const MoveTask& task, void* stream) {
  return LaunchEach(task, stream, "Move");
}
absl::Status Launch(const EnergyTask& task, void* stream) {
  return LaunchEach(task, stream, "Energy");
}
absl::Status Launch(const LimitTask& task, void* stream) {
  return LaunchEach(task, stream, "Limit");
}

}  // namespace factor
}  // namespace narrow
