// Divergences from slices of logits against whole rows in double: the code of
// the card's threads on the CPU, and a card where there is one.

#include "kernels/rows/device/device_pairs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace narrow {
namespace {

using pair_threads::PairScore;
using pair_threads::PairTask;

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*card);
  }
  return devices;
}

std::vector<float> RandomNumbers(int64_t n, int seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> numbers(static_cast<size_t>(n));
  for (float& number : numbers) {
    number = normal(generator);
  }
  return numbers;
}

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
std::vector<double> Measure(const Device& device, const std::vector<float>& p,
                            const std::vector<float>& q, int64_t n_rows,
                            int64_t n, int64_t slice) {
  auto stream = device.NewStream();
  EXPECT_TRUE(stream.ok());
  auto d_p = device.Allocate(4 * p.size(), "test");
  auto d_q = device.Allocate(4 * q.size(), "test");
  auto d_scores =
      device.Allocate(static_cast<size_t>(n_rows) * sizeof(PairScore), "test");
  EXPECT_TRUE(d_p.ok() && d_q.ok() && d_scores.ok());
  EXPECT_TRUE(stream->Copy(p.data(), 4 * p.size(), d_p->data()).ok());
  EXPECT_TRUE(stream->Copy(q.data(), 4 * q.size(), d_q->data()).ok());
  EXPECT_TRUE(BeginPairs(n_rows, d_scores->as<PairScore>(), &*stream).ok());
  for (int64_t first = 0; first < n; first += slice) {
    const PairTask task = {
        d_p->as<float>() + first,   d_q->as<float>() + first, n, n, n_rows,
        std::min(slice, n - first), d_scores->as<PairScore>()};
    EXPECT_TRUE(RunPairs(task, &*stream).ok());
  }
  std::vector<PairScore> scores(static_cast<size_t>(n_rows));
  EXPECT_TRUE(stream
                  ->Copy(d_scores->data(), scores.size() * sizeof(PairScore),
                         scores.data())
                  .ok());
  EXPECT_TRUE(stream->Synchronize("test").ok());
  std::vector<double> divergences;
  for (const PairScore& score : scores) {
    divergences.push_back(score.Divergence());
  }
  return divergences;
}

TEST(DevicePairsTest, SlicesGiveTheWhole) {
  const int64_t n_rows = 3, n = 5000;
  const std::vector<float> p = RandomNumbers(n_rows * n, 1, 5);
  std::vector<float> q = RandomNumbers(n_rows * n, 2, 0.5f);
  for (size_t i = 0; i < q.size(); ++i) {
    q[i] += p[i] + 20;  // a constant that no probability sees
  }
  for (const Device& device : Devices()) {
    SCOPED_TRACE(device.Description());
    for (const int64_t slice : {int64_t{1}, int64_t{7}, int64_t{1000}, n}) {
      const auto divergences = Measure(device, p, q, n_rows, n, slice);
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
  const std::vector<float> p = RandomNumbers(3000, 3, 8);
  for (const Device& device : Devices()) {
    EXPECT_NEAR(Measure(device, p, p, 1, 3000, 512)[0], 0, 1e-13);
  }
}

TEST(DevicePairsTest, TokensWithoutProbabilityAddNothing) {
  std::vector<float> p = RandomNumbers(600, 4, 3);
  std::vector<float> q = RandomNumbers(600, 5, 3);
  const double wanted = Divergence(p.data(), q.data(), 600);
  for (int i = 0; i < 50; ++i) {
    // A first slice without any, and some behind.
    const auto at = i < 20 ? 0 : static_cast<int>(p.size());
    p.insert(p.begin() + at, -INFINITY);
    q.insert(q.begin() + at, i % 2 == 0 ? -INFINITY : -1e4f);
  }
  for (const Device& device : Devices()) {
    EXPECT_NEAR(Measure(device, p, q, 1, 650, 10)[0], wanted, 1e-12);
  }
}

TEST(DevicePairsTest, NaNIsSeen) {
  std::vector<float> p = RandomNumbers(600, 6, 3);
  std::vector<float> q = p;
  q[77] = NAN;
  for (const Device& device : Devices()) {
    EXPECT_TRUE(std::isnan(Measure(device, p, q, 1, 600, 100)[0]));
  }
}

}  // namespace
}  // namespace narrow
