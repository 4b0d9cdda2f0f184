#include "formats/base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace narrow {
namespace {

TEST(ThreadPoolTest, RunsEveryIterationOnceInEveryLoop) {
  for (const int n_threads : {1, 2, 8}) {
    ThreadPool pool(n_threads);
    EXPECT_EQ(pool.n_threads(), n_threads);
    for (int64_t n = 0; n < 200; ++n) {
      std::vector<std::atomic<int>> count(static_cast<size_t>(n));
      pool.ParallelFor(n, [&](int64_t i) {
        count[static_cast<size_t>(i)].fetch_add(1);
      });
      for (const std::atomic<int>& c : count) {
        ASSERT_EQ(c.load(), 1);
      }
    }
  }
}

}  // namespace
}  // namespace narrow
