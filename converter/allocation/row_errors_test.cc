#include "converter/allocation/row_errors.h"

#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "gtest/gtest.h"

namespace narrow {
namespace {

TEST(ChooseRows, TakesAllWhereThereAreFew) {
  const auto rows = ChooseRows({0.5, 0, 2}, 3);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].row, 0);
  EXPECT_EQ(rows[0].weight, 0.5);
  EXPECT_EQ(rows[1].row, 2);
  EXPECT_EQ(rows[1].weight, 2);
  EXPECT_TRUE(ChooseRows({0, 0}, 3).empty());
}

// The sum of what rows are worth, weighed, is near that of all of them; that
// of the weights is met.
TEST(ChooseRows, EstimatesSums) {
  std::mt19937 random(1);
  std::vector<double> weights, values;
  double want = 0;
  for (int i = 0; i < 5000; ++i) {
    weights.push_back(std::exp(static_cast<double>(random() % 600) / 100));
    values.push_back(1 + static_cast<double>(random() % 100) / 100);
    want += weights.back() * values.back();
  }
  const auto rows = ChooseRows(weights, 400);
  EXPECT_LE(rows.size(), 400u);
  double got = 0, total = 0;
  std::set<int64_t> seen;
  for (const WeighedRow& row : rows) {
    EXPECT_TRUE(seen.insert(row.row).second);
    got += row.weight * values[static_cast<size_t>(row.row)];
    total += row.weight;
  }
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  EXPECT_NEAR(total, all, 1e-9 * all);
  // Values vary by a fifth, over 400 draws: some 1 %.
  EXPECT_NEAR(got, want, 0.04 * want);
}

TEST(EvenRows, AreSpread) {
  EXPECT_EQ(EvenRows(3, 5), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(EvenRows(8, 2), (std::vector<int64_t>{2, 6}));
  EXPECT_TRUE(EvenRows(0, 2).empty());
}

// Against sums over decoded weights one by one, for one and three threads.
TEST(RowErrors, AreQuadraticForms) {
  constexpr int64_t kRows = 70, kCols = 64;
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> weights(kRows * kCols), inputs(kCols * kCols);
  for (float& w : weights) {
    w = normal(random);
  }
  for (float& x : inputs) {
    x = normal(random);
  }
  LayerStats stats;
  stats.n_cols = kCols;
  stats.n_rows = 4;
  stats.gram.resize(kCols * kCols);
  for (size_t i = 0; i < kCols; ++i) {
    for (size_t j = 0; j < kCols; ++j) {
      for (size_t k = 0; k < kCols; ++k) {
        stats.gram[i * kCols + j] +=
            static_cast<double>(inputs[k * kCols + i]) *
            static_cast<double>(inputs[k * kCols + j]);
      }
    }
  }
  const std::vector<float> gram = MeanGram(stats);
  EXPECT_NEAR(static_cast<double>(gram[5]), stats.gram[5] / 4, 1e-5);
  std::vector<double> diagonal;
  for (size_t c = 0; c < kCols; ++c) {
    diagonal.push_back(static_cast<double>(c));
  }
  const BlockCodec* codec = FindCodec(QuantType::kQ4_0);
  ThreadPool one(1), three(3);
  const auto errors = RowErrors(*codec, weights, kCols, nullptr, gram, &one);
  const auto diagonals =
      DiagonalErrors(*codec, weights, kCols, nullptr, diagonal, &one);
  EXPECT_EQ(errors, RowErrors(*codec, weights, kCols, nullptr, gram, &three));
  std::vector<uint8_t> bytes(kRows * kCols / 32 * 18);
  codec->EncodeRows(weights.data(), kRows, kCols, nullptr, bytes.data());
  std::vector<float> decoded(weights.size());
  codec->Decode(bytes.data(), kRows * kCols / 32, decoded.data());
  for (size_t r = 0; r < kRows; ++r) {
    double want = 0, want_diagonal = 0;
    for (size_t i = 0; i < kCols; ++i) {
      const double e = static_cast<double>(decoded[r * kCols + i]) -
                       static_cast<double>(weights[r * kCols + i]);
      want_diagonal += diagonal[i] * e * e;
      for (size_t j = 0; j < kCols; ++j) {
        want += e * stats.gram[i * kCols + j] / 4 *
                (static_cast<double>(decoded[r * kCols + j]) -
                 static_cast<double>(weights[r * kCols + j]));
      }
    }
    EXPECT_NEAR(errors[r], want, 1e-3 * want) << r;
    EXPECT_NEAR(diagonals[r], want_diagonal, 1e-5 * want_diagonal) << r;
  }
}

}  // namespace
}  // namespace narrow
