// Factors against the chains that cholesky.cc describes, bit by bit, and
// against their definition H = R R^T. Run for each instruction set (BUILD).

#include "kernels/linalg/cholesky.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr int64_t kSizes[] = {1,   2,   7,   31,  32,  33,
                              100, 127, 128, 129, 160, 300};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<double> Normal(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> values(static_cast<size_t>(n));
  for (double& v : values) {
    v = normal(random);
  }
  return values;
}

// X^T X + I / 16 with n / 2 rows: of condition some 100 * n; below the
// diagonal NaN, which nobody may read.
std::vector<double> Positive(int64_t n) {
  const int64_t n_rows = n / 2 + 1;
  const auto x = Normal(n_rows * n, 7);
  std::vector<double> h(static_cast<size_t>(n * n), kNan);
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

bool SameBits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

// The columns right of `j` in the order of its chain: outside its block of
// 128, in the block outside its part of 32, in that part.
std::vector<int64_t> ChainOf(int64_t j, int64_t n) {
  const int64_t block_end = std::min(n, j / 128 * 128 + 128);
  const int64_t part_end = std::min(block_end, j / 32 * 32 + 32);
  std::vector<int64_t> chain;
  for (int64_t k = block_end; k < n; ++k) {
    chain.push_back(k);
  }
  for (int64_t k = part_end; k < block_end; ++k) {
    chain.push_back(k);
  }
  for (int64_t k = part_end - 1; k > j; --k) {
    chain.push_back(k);
  }
  return chain;
}

// Row by row: x R^T = b.
void SolveChain(const std::vector<double>& r, int64_t n, int64_t columns,
                double* x) {
  for (int64_t j = columns - 1; j >= 0; --j) {
    for (const int64_t k : ChainOf(j, columns)) {
      x[j] = std::fma(-x[k], r[j * n + k], x[j]);
    }
    x[j] /= r[j * n + j];
  }
}

std::vector<double> FactorChain(std::vector<double> h, int64_t n) {
  for (int64_t j = n - 1; j >= 0; --j) {
    for (int64_t i = j; i >= 0; --i) {
      for (const int64_t k : ChainOf(j, n)) {
        h[i * n + j] = std::fma(-h[i * n + k], h[j * n + k], h[i * n + j]);
      }
      h[i * n + j] =
          i == j ? std::sqrt(h[j * n + j]) : h[i * n + j] / h[j * n + j];
    }
    std::fill(h.begin() + j * n, h.begin() + j * n + j, 0.0);
  }
  return h;
}

TEST(CholeskyTest, IsTheChainsOfItsHead) {
  ThreadPool one(1), two(2), seven(7);
  for (const int64_t n : kSizes) {
    const auto h = Positive(n);
    const auto want = FactorChain(h, n);
    for (ThreadPool* pool :
         {static_cast<ThreadPool*>(nullptr), &one, &two, &seven}) {
      auto got = h;
      const FactorResult result = FactorUpper(pool, n, got.data());
      EXPECT_EQ(result.failed_at, -1);
      EXPECT_TRUE(SameBits(got, want)) << n;
      double low = std::numeric_limits<double>::infinity(), high = 0;
      for (int64_t i = 0; i < n; ++i) {
        low = std::min(low, want[i * n + i]);
        high = std::max(high, want[i * n + i]);
      }
      EXPECT_DOUBLE_EQ(result.smallest_pivot, low * low);
      EXPECT_DOUBLE_EQ(result.largest_pivot, high * high);
    }
  }
}

TEST(CholeskyTest, ProductOfFactorsIsTheMatrix) {
  for (const int64_t n : kSizes) {
    const auto h = Positive(n);
    auto r = h;
    ASSERT_EQ(FactorUpper(nullptr, n, r.data()).failed_at, -1);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i; j < n; ++j) {
        long double sum = 0, size = 0;
        for (int64_t k = j; k < n; ++k) {
          const long double term =
              static_cast<long double>(r[i * n + k]) * r[j * n + k];
          sum += term;
          size += std::fabs(term);
        }
        // Higham, "Accuracy and Stability of Numerical Algorithms", theorem
        // 10.3: |R R^T - H| <= gamma_{n+1} |R| |R^T|.
        const long double gamma =
            static_cast<long double>(n + 1) * 0x1p-53L /
            (1 - static_cast<long double>(n + 1) * 0x1p-53L);
        ASSERT_LE(std::fabs(sum - h[i * n + j]), gamma * size) << n;
      }
      for (int64_t j = 0; j < i; ++j) {
        ASSERT_EQ(r[i * n + j], 0);
      }
    }
  }
}

TEST(CholeskyTest, UnitFactorIsThatOfTheRootInHalfItsMemory) {
  for (const int64_t n : kSizes) {
    std::vector<double> r = Positive(n);
    ASSERT_EQ(FactorUpper(nullptr, n, r.data()).failed_at, -1) << n;
    std::vector<float> want(static_cast<size_t>(n * n));
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i; j < n; ++j) {
        want[i * n + j] = static_cast<float>(r[i * n + j] * (1 / r[j * n + j]));
      }
    }
    ThreadPool pool(3);
    for (ThreadPool* with : {static_cast<ThreadPool*>(nullptr), &pool}) {
      std::vector<double> memory = r;
      const float* const m = UnitFactorInPlace(with, n, memory.data());
      EXPECT_EQ(static_cast<const void*>(m), memory.data());
      EXPECT_EQ(std::memcmp(m, want.data(), want.size() * sizeof(float)), 0)
          << n;
    }
  }
}

TEST(CholeskyTest, SolvedRowsGiveBackTheRightSide) {
  ThreadPool two(2), seven(7);
  constexpr int64_t kRows = 67;
  for (const int64_t n : kSizes) {
    auto r = Positive(n);
    ASSERT_EQ(FactorUpper(nullptr, n, r.data()).failed_at, -1);
    const auto b = Normal(kRows * n, 8);
    auto x = b;
    SolveRows(nullptr, r.data(), n, x.data(), kRows);
    for (ThreadPool* pool : {&two, &seven}) {
      auto again = b;
      SolveRows(pool, r.data(), n, again.data(), kRows);
      EXPECT_TRUE(SameBits(again, x)) << n;
    }
    for (int64_t row = 0; row < kRows; ++row) {
      // x R R^T, and the same of absolute values: two triangular solutions,
      // each with a backward error of gamma_n |R| (Higham, theorem 8.5), and
      // the errors of our own sums, which are in long double.
      std::vector<long double> y(n), size(n);
      for (int64_t k = 0; k < n; ++k) {
        for (int64_t i = 0; i <= k; ++i) {
          const long double term =
              static_cast<long double>(x[row * n + i]) * r[i * n + k];
          y[k] += term;
          size[k] += std::fabs(term);
        }
      }
      for (int64_t j = 0; j < n; ++j) {
        long double sum = 0, bound = 0;
        for (int64_t k = j; k < n; ++k) {
          sum += y[k] * r[j * n + k];
          bound += size[k] * std::fabs(r[j * n + k]);
        }
        ASSERT_LE(std::fabs(sum - b[row * n + j]),
                  3 * static_cast<long double>(n + 2) * 0x1p-53L * bound)
            << n;
      }
    }
  }
}

TEST(CholeskyTest, TheFirstHalfOfASolutionIsTheChains) {
  // Two steps of SolveRows: checked by undoing the second on a unit factor.
  constexpr int64_t n = 200;
  auto r = Positive(n);
  ASSERT_EQ(FactorUpper(nullptr, n, r.data()).failed_at, -1);
  const auto b = Normal(n, 9);
  auto want = b;
  SolveChain(r, n, n, want.data());
  for (int64_t j = 0; j < n; ++j) {
    const int64_t block = j / 128 * 128, part = j / 32 * 32;
    for (int64_t k = 0; k < block; ++k) {
      want[j] = std::fma(-want[k], r[k * n + j], want[j]);
    }
    for (int64_t k = block; k < part; ++k) {
      want[j] = std::fma(-want[k], r[k * n + j], want[j]);
    }
    for (int64_t k = part; k < j; ++k) {
      want[j] = std::fma(-want[k], r[k * n + j], want[j]);
    }
    want[j] /= r[j * n + j];
  }
  auto got = b;
  SolveRows(nullptr, r.data(), n, got.data(), 1);
  EXPECT_TRUE(SameBits(got, want));
}

TEST(CholeskyTest, ReportsTheRowThatFails) {
  for (const int64_t n : {1, 40, 130, 300}) {
    for (const int64_t bad : {int64_t{0}, n / 2, n - 1}) {
      for (const double pivot : {0.0, -3.0, kNan, HUGE_VAL}) {
        std::vector<double> h(static_cast<size_t>(n * n));
        for (int64_t i = 0; i < n; ++i) {
          h[i * n + i] = i == bad ? pivot : 2.0;
        }
        const FactorResult result = FactorUpper(nullptr, n, h.data());
        EXPECT_EQ(result.failed_at, bad) << pivot;
        if (pivot == pivot) {
          EXPECT_EQ(result.failed_pivot, pivot);
        } else {
          EXPECT_NE(result.failed_pivot, result.failed_pivot);
        }
      }
    }
  }
}

TEST(CholeskyTest, RefusesSingularAndIndefiniteMatrices) {
  for (const int64_t n : {2, 50, 129}) {
    // Of rank one, exactly: all ones.
    std::vector<double> h(static_cast<size_t>(n * n), 1.0);
    EXPECT_EQ(FactorUpper(nullptr, n, h.data()).failed_at, n - 2);
    // Eigenvalues 1 + n * 2 > 0 and 1 - 2 < 0.
    h.assign(h.size(), 2.0);
    for (int64_t i = 0; i < n; ++i) {
      h[i * n + i] = 1;
    }
    const FactorResult result = FactorUpper(nullptr, n, h.data());
    EXPECT_EQ(result.failed_at, n - 2);
    EXPECT_LT(result.failed_pivot, 0);
  }
}

TEST(CholeskyTest, AnInvalidNumberAnywhereAboveTheDiagonalFails) {
  constexpr int64_t n = 140;
  for (const auto& [i, j] :
       {std::pair<int64_t, int64_t>(0, 139), {5, 6}, {100, 130}, {0, 1}}) {
    auto h = Positive(n);
    h[i * n + j] = kNan;
    const FactorResult result = FactorUpper(nullptr, n, h.data());
    EXPECT_EQ(result.failed_at, i);
    EXPECT_NE(result.failed_pivot, result.failed_pivot);
  }
}

}  // namespace
}  // namespace narrow
