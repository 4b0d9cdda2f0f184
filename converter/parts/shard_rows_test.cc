#include "converter/parts/shard_rows.h"

#include <cstdlib>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

const std::vector<TensorMeta>& Tensors() {
  static const auto* const tensors = new std::vector<TensorMeta>{
      {"embedding", QuantType::kBF16, {1000, 64}},
      {"norm", QuantType::kF32, {64}},
      {"experts", QuantType::kBF16, {3, 50, 64}},
      {"empty", QuantType::kF32, {0, 8}},
      {"last", QuantType::kF32, {7, 32}},
  };
  return *tensors;
}

TEST(ShardRowsTest, EveryRowOnceAndEvenly) {
  int64_t total = 0;
  for (const TensorMeta& meta : Tensors()) {
    total += meta.n_bytes();
  }
  for (const bool whole : {false, true}) {
    for (const int64_t count : {1, 2, 3, 16, 5000}) {
      std::vector<int64_t> next(Tensors().size(), 0);
      for (int64_t k = 1; k <= count; ++k) {
        int64_t n_bytes = 0;
        for (const RowRange& range : ShardRows(Tensors(), {k, count}, whole)) {
          EXPECT_EQ(range.first_row, next[range.tensor]);
          EXPECT_GT(range.n_rows, 0);
          next[range.tensor] += range.n_rows;
          n_bytes += range.n_rows * Tensors()[range.tensor].row_bytes();
        }
        // A row, here of 256 bytes at most, is not divided.
        EXPECT_TRUE(whole || std::abs(n_bytes - total / count) <= 2 * 256)
            << n_bytes << " of " << total << " in part " << k << " of "
            << count;
      }
      for (size_t t = 0; t < next.size(); ++t) {
        EXPECT_EQ(next[t], Tensors()[t].n_rows()) << Tensors()[t].name;
      }
    }
  }
}

TEST(ShardRowsTest, Parses) {
  const auto shard = ParseShard("2/16");
  ASSERT_TRUE(shard.ok());
  EXPECT_EQ(shard->index, 2);
  EXPECT_EQ(shard->count, 16);
  for (const char* text :
       {"", "2", "0/4", "5/4", "-1/4", "1/0", "1/99999", "1/2/3", "a/b"}) {
    EXPECT_FALSE(ParseShard(text).ok()) << text;
  }
}

}  // namespace
}  // namespace narrow
