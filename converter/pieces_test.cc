#include "converter/pieces.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace narrow {
namespace {

TEST(CutIntoPiecesTest, CoversEveryRowOnceAndNeverCrossesAMatrix) {
  const std::vector<TensorMeta> tensors = {
      {"a", QuantType::kF32, {7, 10}}, {"b", QuantType::kF32, {3, 5, 4}},
      {"c", QuantType::kF32, {9}},     {"d", QuantType::kF32, {2, 1000}},
      {"e", QuantType::kF32, {0, 8}},
  };
  for (const int64_t max_weights : {1, 20, 35, 1000000}) {
    std::vector<int64_t> next_row(tensors.size(), 0);
    for (const Piece& piece : CutIntoPieces(tensors, max_weights)) {
      const TensorMeta& meta = tensors[piece.tensor];
      EXPECT_EQ(piece.first_row, next_row[piece.tensor]);
      EXPECT_GT(piece.n_rows, 0);
      EXPECT_TRUE(piece.n_rows == 1 ||
                  piece.n_rows * meta.n_cols() <= max_weights);
      next_row[piece.tensor] += piece.n_rows;
      if (meta.shape.size() == 3) {
        EXPECT_EQ(piece.first_row / 5, piece.matrix);
        EXPECT_EQ((piece.first_row + piece.n_rows - 1) / 5, piece.matrix);
      }
    }
    for (size_t t = 0; t < tensors.size(); ++t) {
      EXPECT_EQ(next_row[t], tensors[t].n_rows()) << tensors[t].name;
    }
  }
}

TEST(RunInOrderTest, ConsumesInOrderWithinTheSlots) {
  for (const int n_threads : {1, 2, 8}) {
    const int n_slots = 2 * n_threads + 1;
    std::vector<int64_t> slots(static_cast<size_t>(n_slots), -1);
    std::atomic<int> n_in_flight{0};
    int64_t n_consumed = 0;
    const absl::Status status = RunInOrder(
        1000, n_threads, n_slots,
        [&](int64_t i, int slot) {
          EXPECT_LE(n_in_flight.fetch_add(1) + 1, n_slots);
          slots[static_cast<size_t>(slot)] = i;
          return absl::OkStatus();
        },
        [&](int64_t i, int slot) {
          EXPECT_EQ(slots[static_cast<size_t>(slot)], i);
          EXPECT_EQ(i, n_consumed++);
          n_in_flight.fetch_sub(1);
          return absl::OkStatus();
        });
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(n_consumed, 1000);
  }
}

TEST(RunInOrderTest, TheFirstErrorInOrderIsReturned) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    const absl::Status status = RunInOrder(
        100, 4, 9,
        [](int64_t i, int) {
          return i >= 30 ? absl::DataLossError(std::to_string(i))
                         : absl::OkStatus();
        },
        [](int64_t, int) { return absl::OkStatus(); });
    EXPECT_EQ(status.message(), "30");
  }
}

}  // namespace
}  // namespace narrow
