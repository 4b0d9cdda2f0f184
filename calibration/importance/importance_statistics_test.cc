#include "calibration/importance/importance_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "calibration/importance/importance_sums.h"

namespace narrow {
namespace {

const TensorStatistics* Find(const ImportanceStatistics& statistics,
                             const std::string& name) {
  for (const TensorStatistics& tensor : statistics.tensors) {
    if (tensor.tensor == name) {
      return &tensor;
    }
  }
  return nullptr;
}

// The figures of llama-imatrix 0.7.0 --show-statistics for these files, to
// the digits that it prints.
TEST(ImportanceStatisticsTest, AreThoseOfLlamaImatrix) {
  const auto sums =
      ReadImportanceSums("testdata/imatrix/tiny-llama-imatrix.gguf");
  ASSERT_TRUE(sums.ok()) << sums.status();
  const ImportanceStatistics statistics = StatisticsOf(*sums);
  EXPECT_TRUE(statistics.all_have_means);
  ASSERT_EQ(statistics.tensors.size(), 28u);

  const TensorStatistics* tensor = Find(statistics, "blk.1.attn_output.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->layer, 1);
  EXPECT_EQ(tensor->part, "attn_output");
  EXPECT_NEAR(tensor->mean, -0.0062, 5.1e-5);
  EXPECT_NEAR(tensor->deviation, 0.1078, 5.1e-5);
  EXPECT_NEAR(tensor->skewness, 0.3040, 5.1e-5);
  EXPECT_NEAR(tensor->kurtosis, 0.2641, 5.1e-5);
  EXPECT_NEAR(tensor->entropy_share, 0.9904, 5.1e-5);
  EXPECT_NEAR(tensor->energy, 38.1032, 5.1e-5);
  EXPECT_NEAR(tensor->change.gain, 7.59, 5.1e-3);
  EXPECT_NEAR(tensor->change.distance, 1.8106, 5.1e-5);
  EXPECT_NEAR(tensor->change.pearson, -0.0806, 5.1e-5);
  EXPECT_NEAR(tensor->change.covariance, -0.0002, 5.1e-5);
  EXPECT_TRUE(std::isnan(Find(statistics, "blk.0.attn_q.weight")->change.gain));

  ASSERT_EQ(statistics.layers.size(), 4u);
  EXPECT_TRUE(std::isnan(statistics.layers[0].change.cosine));
  const LayerStatistics& layer = statistics.layers[2];
  EXPECT_NEAR(layer.energy, 1322.7761, 1e-3);  // their sum is in float32
  EXPECT_NEAR(layer.change.gain, 1.00, 5.1e-3);
  EXPECT_NEAR(layer.change.distance, 5.6836, 5.1e-5);
  EXPECT_NEAR(layer.change.cosine, 0.8893, 5.1e-5);
  EXPECT_NEAR(layer.change.pearson, 0.8896, 5.1e-5);
  EXPECT_NEAR(layer.change.covariance, 0.0524, 5.1e-5);
}

TEST(ImportanceStatisticsTest, OldFilesAreJudgedByMeanSquares) {
  const auto sums =
      ReadImportanceSums("testdata/imatrix/tiny-llama-imatrix.dat");
  ASSERT_TRUE(sums.ok()) << sums.status();
  const ImportanceStatistics statistics = StatisticsOf(*sums);
  EXPECT_FALSE(statistics.all_have_means);
  const TensorStatistics* tensor = Find(statistics, "blk.3.ffn_down.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_NEAR(tensor->mean, 0.1684, 5.1e-5);
  EXPECT_NEAR(tensor->deviation, 0.1063, 5.1e-5);
  EXPECT_NEAR(tensor->kurtosis, 5.6493, 5.1e-5);
  EXPECT_NEAR(tensor->energy, 129.3655, 5.1e-5);
  EXPECT_NEAR(tensor->change.pearson, 0.0104, 5.1e-5);
  EXPECT_NEAR(statistics.layers[1].change.cosine, 0.7712, 5.1e-5);
  EXPECT_NEAR(statistics.layers[3].change.covariance, 0.0212, 5.1e-5);
}

ImportanceSums Experts(std::vector<int64_t> counts) {
  ImportanceSums sums;
  sums.n_matrices = static_cast<int64_t>(counts.size());
  sums.n_cols = 2;
  for (const int64_t count : counts) {
    sums.sum_sq.push_back(static_cast<double>(count) * 4);
    sums.sum_sq.push_back(static_cast<double>(count) * 4);
  }
  sums.counts = std::move(counts);
  return sums;
}

TEST(ImportanceStatisticsTest, MatricesWithoutDataDoNotCount) {
  ImportanceCollection collection;
  collection.entries["blk.0.ffn_up_exps.weight"] = Experts({5, 0, 2});
  collection.entries["blk.1.ffn_up_exps.weight"] = Experts({0, 0, 0});
  collection.entries["blk.4.ffn_up_exps.weight"] = Experts({0, 7, 3});
  const ImportanceStatistics statistics = StatisticsOf(collection);
  ASSERT_EQ(statistics.tensors.size(), 2u);
  const TensorStatistics& first = statistics.tensors[0];
  EXPECT_EQ(first.n_columns, 4);
  EXPECT_EQ(first.n_without_data, 1);
  EXPECT_EQ(first.n_matrices, 3);
  EXPECT_DOUBLE_EQ(first.mean, 4);
  EXPECT_DOUBLE_EQ(first.deviation, 0);
  EXPECT_DOUBLE_EQ(first.energy, 16);
  EXPECT_DOUBLE_EQ(first.entropy_share, 1);
  // The layer before has no data in common with it.
  EXPECT_TRUE(std::isnan(statistics.tensors[1].change.cosine));
}

TEST(ImportanceStatisticsTest, NamesMayBeAnything) {
  ImportanceCollection collection;
  for (const char* name : {"", "blk.", "blk.x.y", "blk.-1.a", "blk.7",
                           "blk.99999999999.a", "blk.2147483647.a", "weight"}) {
    collection.entries[name] = Experts({1});
  }
  const ImportanceStatistics statistics = StatisticsOf(collection);
  EXPECT_EQ(statistics.tensors.size(), 8u);
  EXPECT_TRUE(statistics.layers.empty());
}

}  // namespace
}  // namespace narrow
