// Products on tensor cores against sums in double, alone and in groups: the
// code of the card's warps on the CPU, and a card where there is one.

#include "kernels/matmul/device/tensor_tile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/matmul/device/device_products.h"
#include "kernels/matmul/device/row_groups.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

using tensor_tile::Task;
using tile::Operand;

// Float32 sums of `depth` products of about 1: each addition rounds by up to
// 2^-23 (a card may cut off) of a sum of some sqrt(depth), taken fourfold.
double ToleranceOf(int64_t depth) {
  return 4 * std::sqrt(static_cast<double>(depth)) *
             static_cast<double>(depth) * 0x1p-23 +
         1e-6;
}

struct Case {
  int64_t n_rows, n_cols, depth;
  bool left_by_depth, right_by_depth;
};

// An operand of n lines, chunks of which begin where they must.
struct HostOperand {
  HostOperand(int64_t n, int64_t depth, bool by_depth, int seed)
      : stride(((by_depth ? depth : n) + 7) / 8 * 8),
        is_by_depth(by_depth),
        values(NormalHalves(stride * (by_depth ? n : depth), seed)) {}

  Operand On(const DeviceBuffer& device) const {
    return is_by_depth ? Operand{device.as<uint16_t>(), stride, 1}
                       : Operand{device.as<uint16_t>(), 1, stride};
  }
  double At(int64_t i, int64_t k) const {
    return FloatFromBf16(values[is_by_depth ? i * stride + k : k * stride + i]);
  }

  int64_t stride;
  bool is_by_depth;
  std::vector<uint16_t> values;
};

double Dot(const HostOperand& left, int64_t i, const HostOperand& right,
           int64_t j, int64_t depth) {
  double sum = 0;
  for (int64_t k = 0; k < depth; ++k) {
    sum += left.At(i, k) * right.At(j, k);
  }
  return sum;
}

void ExpectProduct(const TestDevice& on, const Case& c) {
  SCOPED_TRACE(std::to_string(c.n_rows) + " x " + std::to_string(c.n_cols) +
               " x " + std::to_string(c.depth));
  const HostOperand left(c.n_rows, c.depth, c.left_by_depth, 1);
  const HostOperand right(c.n_cols, c.depth, c.right_by_depth, 2);
  const DeviceBuffer d_left = on.Upload(left.values);
  const DeviceBuffer d_right = on.Upload(right.values);
  const std::vector<float> bias = NormalNumbers<float>(c.n_cols, 3);
  const DeviceBuffer d_bias = on.Upload(bias);
  const int64_t out_row = c.n_cols + 3;
  const std::vector<float> before = NormalNumbers<float>(c.n_rows * out_row, 4);
  const DeviceBuffer d_out = on.Upload(before);
  const DeviceBuffer d_halves =
      on.Upload(std::vector<uint16_t>(before.size(), 0x1234));
  Task task;
  task.product = {
      left.On(d_left),   right.On(d_right), c.n_rows, c.n_cols,
      c.depth,           d_out.as<float>(), out_row,  /*accumulate=*/true,
      d_bias.as<float>()};
  ASSERT_TRUE(tensor_tile::Fits(task));
  const auto products = DeviceProducts::OfOwnKernels();
  ASSERT_TRUE(products->Multiply(task.product, on.stream()).ok());
  tile::Product rounded = task.product;
  rounded.accumulate = false;
  rounded.halves = d_halves.as<uint16_t>();
  ASSERT_TRUE(products->Multiply(rounded, on.stream()).ok());
  const std::vector<float> out = on.Download<float>(d_out);
  const std::vector<uint16_t> halves = on.Download<uint16_t>(d_halves);
  const double tolerance = ToleranceOf(c.depth);
  for (int64_t i = 0; i < c.n_rows; ++i) {
    for (int64_t j = 0; j < c.n_cols; ++j) {
      const double wanted = Dot(left, i, right, j, c.depth) + bias[j];
      const int64_t at = i * out_row + j;
      ASSERT_NEAR(out[at], wanted + before[at], tolerance) << i << " " << j;
      ASSERT_NEAR(FloatFromBf16(halves[at]), wanted,
                  tolerance + std::fabs(wanted) * 0x1p-8)
          << i << " " << j;
    }
    for (int64_t j = c.n_cols; j < out_row; ++j) {
      EXPECT_EQ(out[i * out_row + j], before[i * out_row + j]);
      EXPECT_EQ(halves[i * out_row + j], 0x1234);
    }
  }
}

TEST(TensorTileTest, AnySizesAndLayouts) {
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    for (const bool left : {true, false}) {
      for (const bool right : {true, false}) {
        ExpectProduct(on, {1, 1, 1, left, right});
        ExpectProduct(on, {130, 65, 33, left, right});
        ExpectProduct(on, {128, 256, 160, left, right});
        ExpectProduct(on, {77, 140, 500, left, right});
      }
    }
  }
}

TEST(TensorTileTest, BandsCoverEveryTileOnce) {
  // 11 rows of tiles, two bands, by 3 columns.
  Task task;
  task.product.n_rows = 11 * tensor_tile::kTile - 5;
  task.product.n_cols = 3 * tensor_tile::kTile;
  std::vector<int> seen(33, 0);
  ASSERT_EQ(tensor_tile::NumBlocks(task), 33);
  for (int64_t i = 0; i < 33; ++i) {
    const tensor_tile::Place place = tensor_tile::PlaceOf(task, i);
    ++seen[place.first_row / tensor_tile::kTile * 3 +
           place.first_col / tensor_tile::kTile];
  }
  EXPECT_EQ(seen, std::vector<int>(33, 1));
}

TEST(TensorTileTest, OperandsBesideChunksDoNotFit) {
  Task task;
  alignas(16) uint16_t numbers[64] = {};
  task.product.left = {numbers, 16, 1};
  task.product.right = {numbers, 1, 24};
  EXPECT_TRUE(tensor_tile::Fits(task));
  task.product.left = {numbers + 1, 16, 1};
  EXPECT_FALSE(tensor_tile::Fits(task));
  task.product.left = {numbers, 17, 1};
  EXPECT_FALSE(tensor_tile::Fits(task));
  const int32_t gather = 0;
  task.product.left = {numbers, 1, 16};
  task.gather = &gather;
  EXPECT_FALSE(tensor_tile::Fits(task));
}

// Tokens of experts in a fixed but irregular order, one expert after another.
TEST(RowGroupsTest, EachRowMeetsItsGroupsMatrix) {
  // Empty ones first, last and between; one row; more than a tile.
  const std::vector<int64_t> offsets = {0, 0, 1, 1, 131, 300, 300, 305, 305};
  const int64_t n_groups = static_cast<int64_t>(offsets.size()) - 1;
  const int64_t n_tokens = 90, n_cols = 136, depth = 72;
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    std::vector<int32_t> gather;
    for (int64_t i = 0; i < offsets.back(); ++i) {
      gather.push_back(static_cast<int32_t>(i * 37 % n_tokens));
    }
    const HostOperand left(n_tokens, depth, true, 5);
    const HostOperand right(n_groups * n_cols, depth, true, 6);
    const DeviceBuffer d_left = on.Upload(left.values);
    const DeviceBuffer d_right = on.Upload(right.values);
    const DeviceBuffer d_gather = on.Upload(gather);
    const DeviceBuffer d_out =
        on.Upload(std::vector<float>(offsets.back() * n_cols, 7e7f));
    auto groups = RowGroups::Copy(on.device(), offsets, on.stream());
    ASSERT_TRUE(groups.ok());
    Task task;
    task.product = {left.On(d_left), right.On(d_right), offsets.back(), n_cols,
                    depth,           d_out.as<float>(), n_cols,         false};
    task.right_group = n_cols * depth;
    task.gather = d_gather.as<int32_t>();
    groups->Set(&task);
    const auto products = DeviceProducts::OfOwnKernels();
    ASSERT_TRUE(products->MultiplyGroups(task, on.stream()).ok());
    const std::vector<float> out = on.Download<float>(d_out);
    for (int64_t g = 0; g < n_groups; ++g) {
      for (int64_t i = offsets[g]; i < offsets[g + 1]; ++i) {
        for (int64_t j = 0; j < n_cols; ++j) {
          ASSERT_NEAR(out[i * n_cols + j],
                      Dot(left, gather[i], right, g * n_cols + j, depth),
                      ToleranceOf(depth))
              << g << " " << i << " " << j;
        }
      }
    }
  }
}

TEST(RowGroupsTest, NoRowsAreNoWork) {
  const Device device = Device::Cpu();
  auto stream = device.NewStream();
  auto groups = RowGroups::Copy(device, {0, 0, 0}, &*stream);
  ASSERT_TRUE(groups.ok());
  Task task;
  task.product.n_cols = 16;
  groups->Set(&task);
  EXPECT_TRUE(
      DeviceProducts::OfOwnKernels()->MultiplyGroups(task, &*stream).ok());
}

TEST(RowGroupsTest, OperandsThatDoNotFitAreRefused) {
  auto stream = Device::Cpu().NewStream();
  std::vector<uint16_t> numbers(100);
  const tensor_tile::GroupTile tile = {0, 1, 0};
  Task task;
  task.product.left = task.product.right = {numbers.data(), 9, 1};
  task.product.n_rows = task.product.n_cols = 1;
  task.tiles = &tile;
  task.n_tiles = 1;
  const absl::Status status =
      DeviceProducts::OfOwnKernels()->MultiplyGroups(task, &*stream);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

}  // namespace
}  // namespace narrow
