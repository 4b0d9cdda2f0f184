// Products of float32 matrices in parts against sums in double: the code of
// the card's threads on the CPU, and a card where there is one.

#include "kernels/matmul/device/stacked_products.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/test_device.h"

namespace narrow {
namespace {

struct Case {
  int64_t n_rows, n_cols, depth, n_batch, budget;
};

void ExpectProduct(const TestDevice& on, const Case& c) {
  SCOPED_TRACE(testing::Message()
               << c.n_rows << " x " << c.n_cols << " x " << c.depth);
  StackedProduct p;
  p.n_rows = c.n_rows;
  p.n_cols = c.n_cols;
  p.depth = c.depth;
  p.n_batch = c.n_batch;
  p.left_stride = c.n_rows + 3;
  p.right_stride = c.n_cols + 1;
  p.out_row = c.n_cols + 2;
  p.left_step = c.depth * p.left_stride + 5;
  p.right_step = c.depth * p.right_stride;
  p.out_step = c.n_rows * p.out_row + 1;
  const auto left = NormalNumbers<float>(c.n_batch * p.left_step, 1);
  const auto right = NormalNumbers<float>(c.n_batch * p.right_step, 2);
  const auto before = NormalNumbers<float>(c.n_batch * p.out_step, 3);
  const DeviceBuffer d_left = on.Upload(left);
  const DeviceBuffer d_right = on.Upload(right);
  const DeviceBuffer d_out = on.Upload(before);
  p.left = d_left.as<float>();
  p.right = d_right.as<float>();
  p.out = d_out.as<float>();
  auto products = DeviceProducts::Open(on.device());
  ASSERT_TRUE(products.ok());
  StackedProducts stacked(on.device(), products->get());
  const absl::Status status = stacked.Add(p, on.stream(), c.budget);
  ASSERT_TRUE(status.ok()) << status;
  const auto out = on.Download<float>(d_out);
  for (int64_t at = 0; at < c.n_batch * p.out_step; ++at) {
    const int64_t batch = at / p.out_step;
    const int64_t i = at % p.out_step / p.out_row;
    const int64_t j = at % p.out_step % p.out_row;
    double sum = before[at];
    double size = 0;
    if (i < c.n_rows && j < c.n_cols) {
      for (int64_t k = 0; k < c.depth; ++k) {
        const double term =
            static_cast<double>(
                left[batch * p.left_step + k * p.left_stride + i]) *
            right[batch * p.right_step + k * p.right_stride + j];
        sum += term;
        size += std::fabs(term);
      }
    }
    // Each operand rounds by 2^-17 at most, and the product of two second
    // parts, 2^-16, is left out; sums are float32.
    ASSERT_NEAR(out[at], sum, size * 0x1p-14 + 1e-6) << at;
    if (size == 0) {
      EXPECT_EQ(out[at], before[at]);
    }
  }
}

TEST(StackedProductsTest, AnySizesPiecesAndBatches) {
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    constexpr int64_t kAmple = 1 << 20;
    ExpectProduct(on, {1, 1, 1, 1, kAmple});
    ExpectProduct(on, {130, 70, 33, 1, kAmple});
    ExpectProduct(on, {9, 40, 64, 3, kAmple});
    // Depth in pieces of 64.
    ExpectProduct(on, {20, 24, 150, 2, 1});
    ExpectProduct(on, {20, 24, 0, 1, kAmple});
  }
}

// Far nearer than bfloat16, whose 2^-9 would show.
TEST(StackedProductsTest, KeepTwoPartsOfEveryNumber) {
  for (const TestDevice& on : TestDevices()) {
    const std::vector<float> left = {1.0f + 0x1p-12f};
    const std::vector<float> right = {1.0f + 0x1p-13f};
    const DeviceBuffer d_left = on.Upload(left);
    const DeviceBuffer d_right = on.Upload(right);
    const DeviceBuffer d_out = on.Upload(std::vector<float>{0.0f});
    StackedProduct p;
    p.left = d_left.as<float>();
    p.right = d_right.as<float>();
    p.out = d_out.as<float>();
    p.n_rows = p.n_cols = p.depth = 1;
    p.left_stride = p.right_stride = p.out_row = 1;
    const auto products = DeviceProducts::OfOwnKernels();
    ASSERT_TRUE(
        StackedProducts(on.device(), products.get()).Add(p, on.stream()).ok());
    EXPECT_EQ(on.Download<float>(d_out)[0], 1.0f + 0x1p-12f + 0x1p-13f);
  }
}

TEST(StackedProductsTest, ShortMemoryIsResourceExhausted) {
  const TestDevice on(Device::Cpu(100));
  StackedProduct p;
  p.n_rows = p.n_cols = p.depth = 64;
  const auto products = DeviceProducts::OfOwnKernels();
  EXPECT_TRUE(absl::IsResourceExhausted(
      StackedProducts(on.device(), products.get()).Add(p, on.stream())));
}

}  // namespace
}  // namespace narrow
