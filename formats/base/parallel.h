// A pool of threads for loops whose iterations are independent.
//
//   ThreadPool pool(n_threads);
//   pool.ParallelFor(n_rows, [&](int64_t row) { ... });
//
// Iterations are handed out in order, one at a time, so what an iteration
// computes must not depend on which thread runs it: output bytes never depend
// on the number of threads. One loop at a time per pool; loops do not nest.

#ifndef NARROW_FORMATS_BASE_PARALLEL_H_
#define NARROW_FORMATS_BASE_PARALLEL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace narrow {

class ThreadPool {
 public:
  // `n_threads` < 1 means one per processor this process may use. The
  // calling thread is one of them.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(0) … body(n - 1), each once, and returns when all are done.
  void ParallelFor(int64_t n, absl::FunctionRef<void(int64_t)> body);

 private:
  void WorkerLoop();
  void RunIterations();

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  const absl::FunctionRef<void(int64_t)>* body_ = nullptr;  // guarded
  int64_t n_ = 0;
  std::atomic<int64_t> next_{0};
  int generation_ = 0;  // guarded; rises with every loop
  int n_running_ = 0;   // guarded; workers inside the present loop
  bool stopping_ = false;
};

// Processors this process may run on.
int NumProcessors();

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_PARALLEL_H_
