#include "formats/base/parallel.h"

#include <sched.h>

#include <algorithm>

namespace narrow {

int NumProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    return std::max(1, CPU_COUNT(&set));
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

ThreadPool::ThreadPool(int n_threads) {
  if (n_threads < 1) {
    n_threads = NumProcessors();
  }
  for (int i = 1; i < n_threads; ++i) {
    workers_.emplace_back([this] { WorkerLoop(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) {
    worker.join();
  }
}

void ThreadPool::ParallelFor(int64_t n,
                             absl::FunctionRef<void(int64_t)> body) {
  if (workers_.empty() || n < 2) {
    for (int64_t i = 0; i < n; ++i) {
      body(i);
    }
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    body_ = &body;
    n_ = n;
    next_.store(0, std::memory_order_relaxed);
    n_running_ = static_cast<int>(workers_.size());
    ++generation_;
  }
  start_.notify_all();
  RunIterations();
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return n_running_ == 0; });
  body_ = nullptr;
}

void ThreadPool::RunIterations() {
  while (true) {
    const int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
    if (i >= n_) {
      return;
    }
    (*body_)(i);
  }
}

void ThreadPool::WorkerLoop() {
  int seen_generation = 0;
  while (true) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      start_.wait(lock, [&] {
        return stopping_ || generation_ != seen_generation;
      });
      if (stopping_) {
        return;
      }
      seen_generation = generation_;
    }
    RunIterations();
    bool last;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      last = --n_running_ == 0;
    }
    if (last) {
      done_.notify_one();
    }
  }
}

}  // namespace narrow
