// Factors of a device against those of kernels/linalg, bit by bit: the code of
// the card's threads on the CPU, and a card where there is one.

#include "kernels/linalg/device/device_factor.h"

#include <limits>

#include "kernels/test_device.h"

namespace narrow {
namespace {

// X^T X + I / 16 with n / 2 rows.
std::vector<double> Positive(int64_t n, uint32_t seed) {
  const int64_t n_rows = n / 2 + 1;
  const auto x = NormalNumbers<double>(n_rows * n, seed);
  std::vector<double> h(static_cast<size_t>(n * n),
                        std::numeric_limits<double>::quiet_NaN());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      double sum = i == j ? 0.0625 : 0;
      for (int64_t r = 0; r < n_rows; ++r) {
        sum += x[r * n + i] * x[r * n + j];
      }
      h[i * n + j] = sum;
    }
  }
  return h;
}

void ExpectSame(const FactorResult& a, const FactorResult& b) {
  EXPECT_EQ(a.failed_at, b.failed_at);
  EXPECT_EQ(a.failed_pivot, b.failed_pivot);
  EXPECT_EQ(a.smallest_pivot, b.smallest_pivot);
  EXPECT_EQ(a.largest_pivot, b.largest_pivot);
}

TEST(DeviceFactorTest, FactorsHaveTheProcessorsBits) {
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    for (const int64_t n : {1, 7, 31, 32, 33, 127, 128, 129, 160, 300}) {
      SCOPED_TRACE(n);
      std::vector<double> h = Positive(n, 1);
      const DeviceBuffer d_h = on.Upload(h);
      auto factors = DeviceFactors::New(on.device(), 1);
      ASSERT_TRUE(factors.ok());
      ASSERT_TRUE((*factors)
                      ->FactorUpper(n, d_h.as<double>(), n * n, on.stream())
                      .ok());
      const FactorResult result = FactorUpper(nullptr, n, h.data());
      EXPECT_TRUE(SameBits(h, on.Download<double>(d_h)));
      ExpectSame(result, (*factors)->Results(on.stream())->at(0));
      // Its unit factor and pivots.
      const DeviceBuffer d_m =
          on.Upload(std::vector<float>(static_cast<size_t>(n * n)));
      const DeviceBuffer d_pivots =
          on.Upload(std::vector<float>(static_cast<size_t>(n)));
      const DeviceBuffer d_unit = on.Upload(std::vector<double>{3.0});
      factor::UnitTask unit = {n,
                               1,
                               d_h.as<double>(),
                               n * n,
                               d_m.as<float>(),
                               n * n,
                               d_pivots.as<float>(),
                               d_unit.as<double>()};
      ASSERT_TRUE(RunFactorPass(unit, on.stream()).ok());
      std::vector<float> pivots;
      for (int64_t i = 0; i < n; ++i) {
        pivots.push_back(static_cast<float>(h[i * n + i] * h[i * n + i] / 3.0));
      }
      EXPECT_TRUE(SameBits(pivots, on.Download<float>(d_pivots)));
      const float* m = UnitFactorInPlace(nullptr, n, h.data());
      EXPECT_TRUE(
          SameBits(std::vector<float>(m, m + n * n), on.Download<float>(d_m)));
    }
  }
}

// Three matrices at once: one of them fails where the processor's does, and
// the others do not hear of it.
TEST(DeviceFactorTest, BatchesFailOneByOne) {
  constexpr int64_t n = 200;
  std::vector<double> all;
  for (const uint32_t seed : {1, 2, 3}) {
    std::vector<double> h = Positive(n, seed);
    if (seed == 2) {
      h[50 * n + 50] = -1;
    }
    all.insert(all.end(), h.begin(), h.end());
  }
  for (const TestDevice& on : TestDevices()) {
    std::vector<double> expected = all;
    const DeviceBuffer d_h = on.Upload(all);
    auto factors = DeviceFactors::New(on.device(), 3);
    ASSERT_TRUE(factors.ok());
    ASSERT_TRUE(
        (*factors)->FactorUpper(n, d_h.as<double>(), n * n, on.stream()).ok());
    const auto results = (*factors)->Results(on.stream());
    ASSERT_TRUE(results.ok());
    const std::vector<double> got = on.Download<double>(d_h);
    for (size_t i = 0; i < 3; ++i) {
      double* const h = expected.data() + i * n * n;
      const FactorResult result = FactorUpper(nullptr, n, h);
      ExpectSame(result, results->at(i));
      EXPECT_EQ(result.failed_at, i == 1 ? 50 : -1);
      if (i != 1) {
        EXPECT_EQ(std::memcmp(h, got.data() + i * n * n, n * n * 8), 0);
      }
    }
  }
}

TEST(DeviceFactorTest, SolvedRowsHaveTheProcessorsBits) {
  for (const TestDevice& on : TestDevices()) {
    for (const int64_t n : {1, 33, 128, 290}) {
      for (const int64_t n_rows : {0, 1, 65, 130}) {
        std::vector<double> r = Positive(n, 4);
        FactorUpper(nullptr, n, r.data());
        r.insert(r.end(), r.begin(), r.end());
        r[static_cast<size_t>(n * n)] *= 2;  // the second one differs
        auto b = NormalNumbers<double>(2 * n_rows * n, 5);
        const DeviceBuffer d_r = on.Upload(r);
        const DeviceBuffer d_b = on.Upload(b);
        SolveRowsTask task;
        task.r = d_r.as<double>();
        task.n = n;
        task.b = d_b.as<double>();
        task.n_rows = n_rows;
        task.n_batch = 2;
        task.r_step = n * n;
        task.b_step = n_rows * n;
        ASSERT_TRUE(RunSolveRows(task, on.stream()).ok());
        for (const int64_t i : {0, 1}) {
          SolveRows(nullptr, r.data() + i * n * n, n, b.data() + i * n_rows * n,
                    n_rows);
        }
        EXPECT_TRUE(SameBits(b, on.Download<double>(d_b)))
            << n_rows << " x " << n;
      }
    }
  }
}

TEST(DeviceFactorTest, MetricIsPermutedDampedAndScaled) {
  constexpr int64_t n = 5;
  const auto gram = NormalNumbers<double>(n * n, 6);
  const std::vector<int32_t> order = {3, 0, 4, 1, 2};
  for (const TestDevice& on : TestDevices()) {
    const DeviceBuffer d_gram = on.Upload(gram);
    const DeviceBuffer d_order = on.Upload(order);
    const DeviceBuffer d_out = on.Upload(std::vector<float>(n * n));
    factor::MetricTask task = {
        n,       d_gram.as<double>(), d_order.as<int32_t>(), 0.5, 3,
        nullptr, d_out.as<float>()};
    ASSERT_TRUE(RunFactorPass(task, on.stream()).ok());
    const auto out = on.Download<float>(d_out);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) {
        const double value = gram[static_cast<size_t>(order[i]) * n +
                                  static_cast<size_t>(order[j])];
        EXPECT_EQ(out[i * n + j],
                  static_cast<float>((i == j ? value + 0.5 : value) / 3));
      }
    }
  }
}

}  // namespace
}  // namespace narrow
