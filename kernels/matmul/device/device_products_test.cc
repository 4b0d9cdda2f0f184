// Products and Gram matrices of a device against sums in double: the code of
// the card's threads on the CPU, and a card where there is one.

#include "kernels/matmul/device/device_products.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

using tile::Operand;
using tile::Product;

// A device, and what computes on it.
struct Engine {
  TestDevice on;
  std::unique_ptr<DeviceProducts> products;
};

std::vector<Engine> Engines() {
  std::vector<Engine> engines;
  for (const TestDevice& on : TestDevices()) {
    const Device device = on.device();
    engines.push_back({TestDevice(device), DeviceProducts::OfOwnKernels()});
    auto library = DeviceProducts::Open(device);
    if (library.ok() && (*library)->name() != "own kernels") {
      engines.push_back({TestDevice(device), *std::move(library)});
    }
  }
  return engines;
}

// A product of `n_rows` x `n_cols`, operands stored in rows or in columns.
void ExpectProduct(const Engine& engine, int64_t n_rows, int64_t n_cols,
                   int64_t depth, bool left_rows, bool right_rows,
                   bool accumulate) {
  const TestDevice& on = engine.on;
  const std::vector<uint16_t> left = NormalHalves(n_rows * depth, 1);
  const std::vector<uint16_t> right = NormalHalves(n_cols * depth, 2);
  std::vector<float> out = NormalNumbers<float>(n_rows * (n_cols + 3), 3);
  const std::vector<float> before = out;
  const DeviceBuffer d_left = on.Upload(left);
  const DeviceBuffer d_right = on.Upload(right);
  const DeviceBuffer d_out = on.Upload(out);
  const Operand a = left_rows ? Operand{d_left.as<uint16_t>(), depth, 1}
                              : Operand{d_left.as<uint16_t>(), 1, n_rows};
  const Operand b = right_rows ? Operand{d_right.as<uint16_t>(), depth, 1}
                               : Operand{d_right.as<uint16_t>(), 1, n_cols};
  const Product product = {
      a, b, n_rows, n_cols, depth, d_out.as<float>(), n_cols + 3, accumulate};
  ASSERT_TRUE(engine.products->Multiply(product, on.stream()).ok());
  out = on.Download<float>(d_out);
  const auto at = [depth](const std::vector<uint16_t>& values, bool rows,
                          int64_t n, int64_t i, int64_t k) {
    return static_cast<double>(
        FloatFromBf16(values[rows ? i * depth + k : k * n + i]));
  };
  double worst = 0;
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t j = 0; j < n_cols + 3; ++j) {
      const float was = before[i * (n_cols + 3) + j];
      double sum = accumulate || j >= n_cols ? was : 0;
      for (int64_t k = 0; k < depth && j < n_cols; ++k) {
        sum += at(left, left_rows, n_rows, i, k) *
               at(right, right_rows, n_cols, j, k);
      }
      worst = std::max(worst, std::fabs(sum - out[i * (n_cols + 3) + j]));
    }
  }
  // Float32 sums of `depth` products of about 1: each addition rounds by up
  // to 2^-24 of a sum of some sqrt(depth), taken fourfold.
  const double size = std::sqrt(static_cast<double>(depth));
  EXPECT_LE(worst, 4 * size * static_cast<double>(depth) * 0x1p-24 + 1e-6)
      << n_rows << " x " << n_cols << " x " << depth;
}

TEST(DeviceProductsTest, AnySizesAndLayouts) {
  for (const Engine& engine : Engines()) {
    SCOPED_TRACE(engine.on.device().Description() + ", " +
                 engine.products->name());
    for (const bool left_rows : {true, false}) {
      for (const bool right_rows : {true, false}) {
        ExpectProduct(engine, 1, 1, 1, left_rows, right_rows, false);
        ExpectProduct(engine, 65, 130, 33, left_rows, right_rows, true);
        ExpectProduct(engine, 64, 64, 256, left_rows, right_rows, false);
        ExpectProduct(engine, 7, 200, 100, left_rows, right_rows, false);
      }
    }
  }
}

TEST(DeviceProductsTest, PartsHoldAllOfAFloat) {
  for (const float x : NormalNumbers<float>(1000, 4)) {
    float left = x;
    for (int part = 0; part < 3; ++part) {
      left -= FloatFromBf16(tile::PartOf(x, part));
      EXPECT_LE(std::fabs(left),
                std::fabs(x) * std::ldexp(1.0f, -8 * part - 8));
    }
    EXPECT_EQ(left, 0);
  }
}

// The greatest error of a Gram matrix relative to its diagonal.
double GramError(const Engine& engine, int64_t n_rows, int64_t n_cols,
                 int n_parts) {
  const TestDevice& on = engine.on;
  const std::vector<float> rows = NormalNumbers<float>(n_rows * n_cols, 5);
  auto gram =
      DeviceGram::New(on.device(), engine.products.get(), n_cols, {n_parts});
  EXPECT_TRUE(gram.ok()) << gram.status();
  const DeviceBuffer d_rows = on.Upload(rows);
  EXPECT_TRUE((*gram)->Add(d_rows.as<float>(), n_rows, on.stream()).ok());
  std::vector<double> sums(static_cast<size_t>(n_cols * n_cols));
  EXPECT_TRUE((*gram)->Read(sums.data(), on.stream()).ok());
  double worst = 0;
  for (int64_t i = 0; i < n_cols; ++i) {
    for (int64_t j = 0; j < n_cols; j += i == j || n_cols < 300 ? 1 : 61) {
      double sum = 0;
      for (int64_t r = 0; r < n_rows; ++r) {
        sum += static_cast<double>(rows[r * n_cols + i]) * rows[r * n_cols + j];
      }
      worst = std::max(worst, std::fabs(sum - sums[i * n_cols + j]));
    }
  }
  return worst / static_cast<double>(n_rows);
}

TEST(DeviceGramTest, MorePartsAreMoreExact) {
  for (const Engine& engine : Engines()) {
    SCOPED_TRACE(engine.on.device().Description() + ", " +
                 engine.products->name());
    // Inputs round by 2^-9 and 2^-17 at most, and errors of products mostly
    // cancel. With three parts what remains is the sum itself: each of n
    // additions rounds by 2^-25 of a diagonal's, at most.
    const double one = GramError(engine, 500, 100, 1);
    const double two = GramError(engine, 500, 100, 2);
    EXPECT_LE(one, 0x1p-9);
    EXPECT_GE(one, 0x1p-14);
    EXPECT_LE(two, 0x1p-16);
    EXPECT_LE(two, one / 8);
    EXPECT_LE(GramError(engine, 500, 100, 3), 500 * 0x1p-25);
  }
}

TEST(DeviceGramTest, PanelsAndBlocksMeet) {
  for (const Engine& engine : Engines()) {
    SCOPED_TRACE(engine.on.device().Description() + ", " +
                 engine.products->name());
    EXPECT_LE(GramError(engine, 9, DeviceGram::kPanelCols + 70, 1), 0x1p-6);
    EXPECT_LE(GramError(engine, DeviceGram::kBlockRows + 5, 20, 3),
              DeviceGram::kBlockRows * 0x1p-25);
  }
}

TEST(CublasTest, IsFoundOrTellsWhere) {
  const auto api = LoadCublas();
  if (api.ok()) {
    EXPECT_THAT((*api)->path, testing::HasSubstr("libcublas.so"));
    EXPECT_NE((*api)->gemm_ex, nullptr);
  } else {
    EXPECT_THAT(std::string(api.status().message()),
                testing::HasSubstr("NARROW_CUDA_LIBRARIES"));
  }
}

}  // namespace
}  // namespace narrow
