#include "converter/pieces.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "formats/base/status.h"

namespace narrow {

std::vector<RowRange> AllRows(absl::Span<const TensorMeta> tensors) {
  std::vector<RowRange> ranges;
  for (size_t t = 0; t < tensors.size(); ++t) {
    ranges.push_back({t, 0, tensors[t].n_rows()});
  }
  return ranges;
}

std::vector<Piece> CutIntoPieces(absl::Span<const TensorMeta> tensors,
                                 absl::Span<const RowRange> ranges,
                                 int64_t max_weights) {
  std::vector<Piece> pieces;
  for (const RowRange& range : ranges) {
    const TensorMeta& meta = tensors[range.tensor];
    const int64_t matrix_rows = meta.shape.size() > 1
                                    ? meta.shape[meta.shape.size() - 2]
                                    : meta.n_rows();
    const int64_t step =
        std::max<int64_t>(1, max_weights / std::max<int64_t>(1, meta.n_cols()));
    const int64_t last = range.first_row + range.n_rows;
    for (int64_t row = range.first_row; row < last;) {
      const int64_t matrix = row / matrix_rows;
      const int64_t end =
          std::min({row + step, (matrix + 1) * matrix_rows, last});
      pieces.push_back({range.tensor, matrix, row, end - row});
      row = end;
    }
  }
  return pieces;
}

std::vector<Piece> CutIntoPieces(absl::Span<const TensorMeta> tensors,
                                 int64_t max_weights) {
  return CutIntoPieces(tensors, AllRows(tensors), max_weights);
}

namespace {

// State shared by the computing threads and the consumer; all of it guarded
// by the mutex.
struct Exchange {
  std::mutex mutex;
  std::condition_variable computed;  // an item is ready
  std::condition_variable consumed;  // a slot is free, or all must stop
  int64_t next = 0;                  // first item that nobody has taken
  int64_t n_consumed = 0;
  bool stopping = false;
  std::vector<bool> ready;           // by slot
  std::vector<absl::Status> status;  // by slot
};

void ComputeLoop(int64_t n, int n_slots, Exchange* exchange,
                 const std::function<absl::Status(int64_t, int)>& compute) {
  std::unique_lock<std::mutex> lock(exchange->mutex);
  while (true) {
    exchange->consumed.wait(lock, [&] {
      return exchange->stopping || exchange->next >= n ||
             exchange->next < exchange->n_consumed + n_slots;
    });
    if (exchange->stopping || exchange->next >= n) {
      return;
    }
    const int64_t i = exchange->next++;
    const int slot = static_cast<int>(i % n_slots);
    lock.unlock();
    absl::Status status = compute(i, slot);
    lock.lock();
    exchange->status[static_cast<size_t>(slot)] = std::move(status);
    exchange->ready[static_cast<size_t>(slot)] = true;
    exchange->computed.notify_one();
  }
}

absl::Status ConsumeAll(
    int64_t n, int n_slots, Exchange* exchange,
    const std::function<absl::Status(int64_t, int)>& consume) {
  for (int64_t i = 0; i < n; ++i) {
    const int slot = static_cast<int>(i % n_slots);
    {
      std::unique_lock<std::mutex> lock(exchange->mutex);
      exchange->computed.wait(lock, [&] {
        return static_cast<bool>(exchange->ready[static_cast<size_t>(slot)]);
      });
      RETURN_IF_ERROR(exchange->status[static_cast<size_t>(slot)]);
    }
    RETURN_IF_ERROR(consume(i, slot));
    {
      std::lock_guard<std::mutex> lock(exchange->mutex);
      exchange->ready[static_cast<size_t>(slot)] = false;
      ++exchange->n_consumed;
    }
    exchange->consumed.notify_all();
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunInOrder(
    int64_t n, int n_threads, int n_slots,
    const std::function<absl::Status(int64_t, int)>& compute,
    const std::function<absl::Status(int64_t, int)>& consume) {
  Exchange exchange;
  exchange.ready.assign(static_cast<size_t>(n_slots), false);
  exchange.status.assign(static_cast<size_t>(n_slots), absl::OkStatus());
  std::vector<std::thread> threads;
  for (int t = 0; t < n_threads; ++t) {
    threads.emplace_back([&] { ComputeLoop(n, n_slots, &exchange, compute); });
  }
  const absl::Status status = ConsumeAll(n, n_slots, &exchange, consume);
  {
    std::lock_guard<std::mutex> lock(exchange.mutex);
    exchange.stopping = true;
  }
  exchange.consumed.notify_all();
  for (std::thread& thread : threads) {
    thread.join();
  }
  return status;
}

}  // namespace narrow
