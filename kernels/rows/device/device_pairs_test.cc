// Divergences from slices of logits against whole rows in double: the code of
// the card's threads on the CPU, and a card where there is one.

#include "kernels/rows/device/device_pairs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/test_device.h"

namespace narrow {
namespace {

using pair_threads::PairScore;
using pair_threads::PairTask;

long double LogSum(const float* logits, int64_t n) {
  const float top = *std::max_element(logits, logits + n);
  long double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += std::exp(static_cast<long double>(logits[i]) - top);
  }
  return top + std::log(sum);
}

double Divergence(const float* p, const float* q, int64_t n) {
  const long double log_p = LogSum(p, n), log_q = LogSum(q, n);
  long double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const long double lp = p[i] - log_p, lq = q[i] - log_q;
    sum += std::exp(lp) * (lp - lq);
  }
  return static_cast<double>(sum);
}

// Divergences of rows of n tokens, taken in slices.
std::vector<double> Measure(const TestDevice& on, const std::vector<float>& p,
                            const std::vector<float>& q, int64_t n_rows,
                            int64_t n, int64_t slice) {
  const DeviceBuffer d_p = on.Upload(p);
  const DeviceBuffer d_q = on.Upload(q);
  const DeviceBuffer d_scores =
      on.Upload(std::vector<PairScore>(static_cast<size_t>(n_rows)));
  EXPECT_TRUE(BeginPairs(n_rows, d_scores.as<PairScore>(), on.stream()).ok());
  for (int64_t first = 0; first < n; first += slice) {
    const PairTask task = {
        d_p.as<float>() + first,    d_q.as<float>() + first, n, n, n_rows,
        std::min(slice, n - first), d_scores.as<PairScore>()};
    EXPECT_TRUE(RunPairs(task, on.stream()).ok());
  }
  std::vector<double> divergences;
  for (const PairScore& score : on.Download<PairScore>(d_scores)) {
    divergences.push_back(score.Divergence());
  }
  return divergences;
}

TEST(DevicePairsTest, SlicesGiveTheWhole) {
  const int64_t n_rows = 3, n = 5000;
  const std::vector<float> p = NormalNumbers<float>(n_rows * n, 1, 5);
  std::vector<float> q = NormalNumbers<float>(n_rows * n, 2, 0.5f);
  for (size_t i = 0; i < q.size(); ++i) {
    q[i] += p[i] + 20;  // a constant that no probability sees
  }
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    for (const int64_t slice : {int64_t{1}, int64_t{7}, int64_t{1000}, n}) {
      const auto divergences = Measure(on, p, q, n_rows, n, slice);
      for (int64_t r = 0; r < n_rows; ++r) {
        const double wanted = Divergence(&p[r * n], &q[r * n], n);
        EXPECT_GT(wanted, 1e-3);
        // Sums in double of terms of up to 25, and as many of them.
        EXPECT_NEAR(divergences[r], wanted, 1e-12) << slice;
      }
    }
  }
}

TEST(DevicePairsTest, TheSameLogitsDoNotDiverge) {
  const std::vector<float> p = NormalNumbers<float>(3000, 3, 8);
  for (const TestDevice& on : TestDevices()) {
    EXPECT_NEAR(Measure(on, p, p, 1, 3000, 512)[0], 0, 1e-13);
  }
}

TEST(DevicePairsTest, TokensWithoutProbabilityAddNothing) {
  std::vector<float> p = NormalNumbers<float>(600, 4, 3);
  std::vector<float> q = NormalNumbers<float>(600, 5, 3);
  const double wanted = Divergence(p.data(), q.data(), 600);
  for (int i = 0; i < 50; ++i) {
    // A first slice without any, and some behind.
    const auto at = i < 20 ? 0 : static_cast<int>(p.size());
    p.insert(p.begin() + at, -INFINITY);
    q.insert(q.begin() + at, i % 2 == 0 ? -INFINITY : -1e4f);
  }
  for (const TestDevice& on : TestDevices()) {
    EXPECT_NEAR(Measure(on, p, q, 1, 650, 10)[0], wanted, 1e-12);
  }
}

TEST(DevicePairsTest, NaNIsSeen) {
  std::vector<float> p = NormalNumbers<float>(600, 6, 3);
  std::vector<float> q = p;
  q[77] = NAN;
  for (const TestDevice& on : TestDevices()) {
    EXPECT_TRUE(std::isnan(Measure(on, p, q, 1, 600, 100)[0]));
  }
}

}  // namespace
}  // namespace narrow
