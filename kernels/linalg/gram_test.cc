// Gram matrices against the sums that gram.h promises, bit by bit, and
// against long double. Run for each instruction set (BUILD).

#include "kernels/linalg/gram.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

struct Shape {
  int64_t n_rows, n_cols;
};
constexpr Shape kShapes[] = {{1, 1},    {5, 3},     {256, 32},  {257, 33},
                             {700, 47}, {300, 100}, {513, 130}, {20, 700}};

std::vector<float> Normal(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) {
    v = normal(random);
  }
  return values;
}

// Every third weight is 0.
std::vector<float> Weights(int64_t n) {
  std::vector<float> weights = Normal(n, 9);
  for (size_t r = 0; r < weights.size(); ++r) {
    weights[r] = r % 3 == 1 ? 0.0f : std::fabs(weights[r]);
  }
  return weights;
}

bool SameBits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

// The definition.
std::vector<double> Chains(const std::vector<float>& left, int64_t n_left,
                           const std::vector<float>& right, const Shape& shape,
                           const float* weights, bool upper, double start) {
  const int64_t n = shape.n_cols;
  std::vector<double> sums(static_cast<size_t>(n_left * n), start);
  for (int64_t i = 0; i < n_left; ++i) {
    for (int64_t j = upper ? i : 0; j < n; ++j) {
      for (int64_t first = 0; first < shape.n_rows; first += kGramBlockRows) {
        float sum = 0;
        for (int64_t r = first;
             r < std::min(shape.n_rows, first + kGramBlockRows); ++r) {
          if (weights == nullptr || weights[r] != 0) {
            const float x = left[r * n_left + i];
            sum = std::fma(weights == nullptr ? x : x * weights[r],
                           right[r * n + j], sum);
          }
        }
        sums[i * n + j] += static_cast<double>(sum);
      }
    }
  }
  return sums;
}

TEST(GramTest, IsTheSumOfChains) {
  ThreadPool two(2), seven(7);
  for (const Shape& shape : kShapes) {
    const auto rows = Normal(shape.n_rows * shape.n_cols, 1);
    const auto weights = Weights(shape.n_rows);
    for (const float* w :
         {static_cast<const float*>(nullptr), weights.data()}) {
      const auto want = Chains(rows, shape.n_cols, rows, shape, w, true, 0.25);
      for (ThreadPool* pool :
           {static_cast<ThreadPool*>(nullptr), &two, &seven}) {
        std::vector<double> got(want.size(), 0.25);
        AddGram(pool, rows.data(), shape.n_rows, shape.n_cols, w, got.data());
        EXPECT_TRUE(SameBits(got, want))
            << shape.n_rows << " x " << shape.n_cols << (w ? ", weights" : "");
      }
    }
  }
}

TEST(GramTest, CrossIsTheSumOfChains) {
  ThreadPool two(2), seven(7);
  for (const Shape& shape : kShapes) {
    // As wide as the right side, narrower and wider.
    for (const int64_t n_left : {shape.n_cols, int64_t{7}, int64_t{150}}) {
      const auto left = Normal(shape.n_rows * n_left, 1);
      const auto right = Normal(shape.n_rows * shape.n_cols, 2);
      const auto weights = Weights(shape.n_rows);
      for (const float* w :
           {static_cast<const float*>(nullptr), weights.data()}) {
        const auto want = Chains(left, n_left, right, shape, w, false, -1);
        for (ThreadPool* pool :
             {static_cast<ThreadPool*>(nullptr), &two, &seven}) {
          std::vector<double> got(want.size(), -1);
          AddCross(pool, left.data(), n_left, right.data(), shape.n_cols,
                   shape.n_rows, w, got.data());
          EXPECT_TRUE(SameBits(got, want))
              << shape.n_rows << " x " << n_left << " x " << shape.n_cols
              << (w ? ", weights" : "");
        }
      }
    }
  }
}

TEST(GramTest, WholeBlocksMayComeInAnyCalls) {
  constexpr Shape kShape = {1000, 45};
  const auto rows = Normal(kShape.n_rows * kShape.n_cols, 3);
  std::vector<double> whole(kShape.n_cols * kShape.n_cols), parts = whole;
  AddGram(nullptr, rows.data(), kShape.n_rows, kShape.n_cols, nullptr,
          whole.data());
  for (const auto& [first, n] :
       {std::pair<int64_t, int64_t>(0, 512), {512, 256}, {768, 232}}) {
    AddGram(nullptr, rows.data() + first * kShape.n_cols, n, kShape.n_cols,
            nullptr, parts.data());
  }
  EXPECT_TRUE(SameBits(whole, parts));
}

TEST(GramTest, RowsOfWeightZeroCountNothing) {
  constexpr Shape kShape = {40, 19};
  auto rows = Normal(kShape.n_rows * kShape.n_cols, 4);
  const auto weights = Weights(kShape.n_rows);
  std::vector<double> want(kShape.n_cols * kShape.n_cols), got = want;
  AddGram(nullptr, rows.data(), kShape.n_rows, kShape.n_cols, weights.data(),
          want.data());
  for (int64_t c = 0; c < kShape.n_cols; ++c) {
    rows[1 * kShape.n_cols + c] = std::numeric_limits<float>::infinity();
    rows[4 * kShape.n_cols + c] = std::numeric_limits<float>::quiet_NaN();
  }
  AddGram(nullptr, rows.data(), kShape.n_rows, kShape.n_cols, weights.data(),
          got.data());
  EXPECT_TRUE(SameBits(got, want));
}

TEST(GramTest, IsNearTheSum) {
  constexpr Shape kShape = {1500, 40};
  const auto rows = Normal(kShape.n_rows * kShape.n_cols, 5);
  std::vector<double> got(kShape.n_cols * kShape.n_cols);
  AddGram(nullptr, rows.data(), kShape.n_rows, kShape.n_cols, nullptr,
          got.data());
  for (int64_t i = 0; i < kShape.n_cols; ++i) {
    for (int64_t j = i; j < kShape.n_cols; ++j) {
      long double sum = 0, size = 0;
      for (int64_t r = 0; r < kShape.n_rows; ++r) {
        const long double term =
            static_cast<long double>(rows[r * kShape.n_cols + i]) *
            rows[r * kShape.n_cols + j];
        sum += term;
        size += std::fabs(term);
      }
      // Chains of kGramBlockRows roundings in float32; those in double vanish
      // beside them.
      EXPECT_LE(std::fabs(sum - got[i * kShape.n_cols + j]),
                kGramBlockRows * 0x1p-24L * size);
    }
  }
}

TEST(GramTest, MirrorsTheUpperTriangle) {
  ThreadPool pool(2);
  for (const int64_t n : {1, 2, 63, 64, 65, 200}) {
    std::vector<double> matrix(static_cast<size_t>(n * n));
    for (int64_t i = 0; i < n * n; ++i) {
      matrix[i] = static_cast<double>(i);
    }
    MirrorUpper(&pool, n, matrix.data());
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        ASSERT_EQ(matrix[i * n + j],
                  static_cast<double>(std::min(i, j) * n + std::max(i, j)));
      }
    }
  }
}

}  // namespace
}  // namespace narrow
