#include "kernels/linalg/device/device_factor.h"

#include <algorithm>
#include <limits>

#include "formats/base/status.h"
#include "kernels/linalg/device/device_chains.h"
#include "kernels/linalg/device/factor_launch.h"

namespace narrow {

using factor::Block;
using factor::BlockBatch;
using factor::Factors;
using factor::kBlock;
using factor::kPart;
using factor::kSolveRows;
using factor::Outcome;
using factor::Part;
using factor::PartAt;
using factor::PartsOf;
using factor::RowPart;
using factor::Square;
using factor::SquareBatch;
using factor::SquareShared;

namespace {

// What other parts give to one, for rows first ... of a block of threads.
void TakeInParts(const Block& block, int p, int64_t first,
                 std::vector<RowPart>* threads, Factors* factors) {
  const int n_threads = static_cast<int>(threads->size());
  const Part part = PartAt(block.n, p);
  const int begin = block.transposed ? p + 1 : 0;
  const int end = block.transposed ? PartsOf(block.n) : p;
  for (int f = begin; f < end; ++f) {
    const Part from = PartAt(block.n, f);
    for (int thread = 0; thread < n_threads; ++thread) {
      block.Stage(part, from, thread, n_threads, factors);
    }
    for (int thread = 0; thread < n_threads; ++thread) {
      block.TakeIn(from, *factors, first + thread, &(*threads)[thread]);
    }
  }
}

// A block of threads as the card runs it, phase by phase.
void SolveBlock(const Block& block, int64_t first) {
  Factors factors;
  std::vector<RowPart> threads(kSolveRows);
  const int n_parts = PartsOf(block.n);
  for (int step = 0; step < n_parts; ++step) {
    const int p = block.transposed ? n_parts - 1 - step : step;
    const Part part = PartAt(block.n, p);
    for (int thread = 0; thread < kSolveRows; ++thread) {
      block.Load(part, first + thread, &threads[thread]);
    }
    TakeInParts(block, p, first, &threads, &factors);
    for (int thread = 0; thread < kSolveRows; ++thread) {
      block.Stage(part, part, thread, kSolveRows, &factors);
    }
    for (int thread = 0; thread < kSolveRows; ++thread) {
      if (block.transposed) {
        Block::Solve<true>(factors, &threads[thread]);
      } else {
        Block::Solve<false>(factors, &threads[thread]);
      }
      block.Store(part, first + thread, threads[thread]);
    }
  }
}

// The columns of one part; false on failure.
bool FactorPart(const Square& square, const Part& part,
                std::vector<RowPart>* threads, SquareShared* shared) {
  for (int j = part.end - part.begin - 1; j >= 0; --j) {
    for (int row = 0; row < kBlock; ++row) {
      square.TakePivot(part, j, row, (*threads)[row], shared);
    }
    if (shared->failed) {
      return false;
    }
    for (int row = 0; row < kBlock; ++row) {
      square.Divide(part, j, row, &(*threads)[row], shared);
    }
    for (int row = 0; row < kBlock; ++row) {
      square.Spread(part, j, row, *shared, &(*threads)[row]);
    }
  }
  return true;
}

void FactorSquare(const Square& square) {
  if (square.outcome->failed_at >= 0) {
    return;
  }
  SquareShared shared;
  std::vector<RowPart> threads(kBlock);
  for (int p = PartsOf(square.n) - 1; p >= 0; --p) {
    const Part part = PartAt(square.n, p);
    const Block rows = square.Rows(part);
    for (int row = 0; row < kBlock; ++row) {
      rows.Load(part, row, &threads[row]);
    }
    TakeInParts(rows, p, 0, &threads, &shared.factors);
    if (!FactorPart(square, part, &threads, &shared)) {
      return;
    }
    for (int row = 0; row < kBlock; ++row) {
      rows.Store(part, row, threads[row]);
    }
  }
}

absl::Status Run(const SquareBatch& squares, DeviceStream* stream) {
  if (stream->kind() == DeviceKind::kCuda) {
    return factor::Launch(squares, stream->handle());
  }
  for (int64_t batch = 0; batch < squares.n_batch; ++batch) {
    FactorSquare(At(squares, batch));
  }
  return absl::OkStatus();
}

absl::Status Run(const BlockBatch& blocks, DeviceStream* stream) {
  if (blocks.block.n_rows == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return factor::Launch(blocks, stream->handle());
  }
  for (int64_t batch = 0; batch < blocks.n_batch; ++batch) {
    for (int64_t row = 0; row < blocks.block.n_rows; row += kSolveRows) {
      SolveBlock(At(blocks, batch), row);
    }
  }
  return absl::OkStatus();
}

template <class Task>
absl::Status RunEach(const Task& task, DeviceStream* stream) {
  if (task.n() == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return factor::Launch(task, stream->handle());
  }
  for (int64_t i = 0; i < task.n(); ++i) {
    task.Run(i);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceFactors>> DeviceFactors::New(
    const Device& device, int64_t n_batch, CuSolver* library) {
  std::unique_ptr<DeviceFactors> factors(new DeviceFactors(n_batch, library));
  ASSIGN_OR_RETURN(
      factors->outcomes_,
      device.Allocate(static_cast<size_t>(n_batch) * sizeof(Outcome),
                      "outcomes of factors"));
  if (library != nullptr) {
    ASSIGN_OR_RETURN(factors->infos_,
                     device.Allocate(static_cast<size_t>(n_batch) * sizeof(int),
                                     "outcomes of factors"));
  }
  return factors;
}

// H = R R^T is, in falling order, L L^T.
absl::Status DeviceFactors::FactorByLibrary(int64_t n, double* h, int64_t step,
                                            DeviceStream* stream) {
  const factor::ReverseTask reverse = {n, n_batch_, h, step};
  RETURN_IF_ERROR(RunEach(reverse, stream));
  RETURN_IF_ERROR(
      library_->Factor(n, h, step, n_batch_, infos_.as<int>(), stream));
  RETURN_IF_ERROR(RunEach(reverse, stream));
  return RunEach(factor::OutcomeTask{n, n_batch_, h, step, infos_.as<int>(),
                                     outcomes_.as<Outcome>()},
                 stream);
}

absl::Status DeviceFactors::FactorUpper(int64_t n, double* h, int64_t step,
                                        DeviceStream* stream) {
  const Outcome none = {-1, 0,
                        n > 0 ? std::numeric_limits<double>::infinity() : 0, 0};
  const std::vector<Outcome> outcomes(static_cast<size_t>(n_batch_), none);
  RETURN_IF_ERROR(
      stream->Copy(outcomes.data(), outcomes_.n_bytes(), outcomes_.data()));
  // The vector goes before the stream may have read it.
  RETURN_IF_ERROR(stream->Synchronize("factors"));
  if (library_ != nullptr && n > 0) {
    RETURN_IF_ERROR(FactorByLibrary(n, h, step, stream));
    return RunEach(factor::ZeroBelowTask{n, n_batch_, h, step}, stream);
  }
  for (int64_t begin = (n - 1) / kBlock * kBlock; n > 0 && begin >= 0;
       begin -= kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    chain::Product<double> product =
        chain::GemmNT<double>(Update::kSubtract, end, end - begin, n - end,
                              h + end, n, h + begin * n + end, n, h + begin, n);
    product.n_batch = n_batch_;
    product.left_step = product.right_step = product.out_step = step;
    if (n > end) {
      RETURN_IF_ERROR(RunChainProduct(product, stream));
    }
    double* const square = h + begin * n + begin;
    const int size = static_cast<int>(end - begin);
    RETURN_IF_ERROR(Run(
        SquareBatch{
            {square, n, size, begin, outcomes_.as<Outcome>()}, n_batch_, step},
        stream));
    RETURN_IF_ERROR(Run(
        BlockBatch{{square, n, h + begin, n, begin, size, /*transposed=*/true},
                   n_batch_,
                   step,
                   step},
        stream));
  }
  return RunEach(factor::ZeroBelowTask{n, n_batch_, h, step}, stream);
}

absl::StatusOr<std::vector<FactorResult>> DeviceFactors::Results(
    DeviceStream* stream) {
  std::vector<Outcome> outcomes(static_cast<size_t>(n_batch_));
  RETURN_IF_ERROR(
      stream->Copy(outcomes_.data(), outcomes_.n_bytes(), outcomes.data()));
  RETURN_IF_ERROR(stream->Synchronize("factors"));
  std::vector<FactorResult> results;
  for (const Outcome& outcome : outcomes) {
    FactorResult result;
    result.failed_at = outcome.failed_at;
    result.failed_pivot = outcome.failed_pivot;
    result.smallest_pivot = outcome.smallest_pivot;
    result.largest_pivot = outcome.largest_pivot;
    results.push_back(result);
  }
  return results;
}

absl::Status RunSolveRows(const SolveRowsTask& task, DeviceStream* stream) {
  const int64_t n = task.n;
  const int64_t n_blocks = (n + kBlock - 1) / kBlock;
  // Y R^T = B, then X R = Y.
  for (const bool transposed : {true, false}) {
    for (int64_t i = 0; i < n_blocks; ++i) {
      const int64_t begin = (transposed ? n_blocks - 1 - i : i) * kBlock;
      const int64_t end = std::min(n, begin + kBlock);
      const int64_t size = end - begin;
      auto product =
          transposed
              ? chain::GemmNT<double>(
                    Update::kSubtract, task.n_rows, size, n - end, task.b + end,
                    n, task.r + begin * n + end, n, task.b + begin, n)
              : chain::Gemm<double>(Update::kSubtract, task.n_rows, size, begin,
                                    task.b, n, task.r + begin, n,
                                    task.b + begin, n);
      product.n_batch = task.n_batch;
      product.left_step = product.out_step = task.b_step;
      product.right_step = task.r_step;
      if (product.k > 0) {
        RETURN_IF_ERROR(RunChainProduct(product, stream));
      }
      const Block block = {
          task.r + begin * n + begin, n,         task.b + begin, n, task.n_rows,
          static_cast<int>(size),     transposed};
      RETURN_IF_ERROR(Run(
          BlockBatch{block, task.n_batch, task.r_step, task.b_step}, stream));
    }
  }
  return absl::OkStatus();
}

absl::Status FactorUpperOnDevice(const Device& device, absl::string_view what,
                                 int64_t n, double* h, FactorResult* result) {
  const size_t n_bytes = static_cast<size_t>(8 * n * n);
  ASSIGN_OR_RETURN(DeviceStream stream, device.NewStream());
  ASSIGN_OR_RETURN(DeviceBuffer buffer, device.Allocate(n_bytes, what));
  ASSIGN_OR_RETURN(const auto factors, DeviceFactors::New(device, 1));
  RETURN_IF_ERROR(stream.Copy(h, n_bytes, buffer.data()));
  RETURN_IF_ERROR(factors->FactorUpper(n, buffer.as<double>(), n * n, &stream));
  ASSIGN_OR_RETURN(const auto results, factors->Results(&stream));
  RETURN_IF_ERROR(stream.Copy(buffer.data(), n_bytes, h));
  RETURN_IF_ERROR(stream.Synchronize(what));
  *result = results[0];
  return absl::OkStatus();
}

absl::Status RunFactorPass(const factor::UnitTask& task, DeviceStream* stream) {
  return RunEach(task, stream);
}

absl::Status RunFactorPass(const factor::MetricTask& task,
                           DeviceStream* stream) {
  return RunEach(task, stream);
}

absl::Status RunFactorPass(const factor::WidenTask& task,
                           DeviceStream* stream) {
  return RunEach(task, stream);
}

absl::Status RunFactorPass(const factor::MoveTask& task, DeviceStream* stream) {
  return RunEach(task, stream);
}

absl::Status RunFactorPass(const factor::EnergyTask& task,
                           DeviceStream* stream) {
  return RunEach(task, stream);
}

absl::Status RunFactorPass(const factor::LimitTask& task,
                           DeviceStream* stream) {
  return RunEach(task, stream);
}

}  // namespace narrow
