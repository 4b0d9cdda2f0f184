// Products through cuBLASLt's interface, with a library that computes on the
// processor (fake_cublas_lt.cc), against sums in double.

#include "kernels/matmul/device/cublas_lt.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/matmul/device/device_products.h"
#include "kernels/nvidia_library.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

using testing::HasSubstr;
using tile::Operand;
using tile::Product;

constexpr char kFolder[] = "kernels/matmul/device";

// The library, and what it tells tests.
struct Fake {
  const cublas_lt::Api* api;
  void (*fail)(const char* call, int status);
  const char* (*complaint)();
  int (*heuristics)();
  int (*products)();
  int (*living)();
};

Fake LoadFake() {
  setenv("NARROW_CUDA_LIBRARIES", kFolder, 1);
  const auto api = LoadCublasLt();
  EXPECT_TRUE(api.ok()) << api.status();
  Fake fake = {*api, nullptr, nullptr, nullptr, nullptr, nullptr};
  void* const library = dlopen((*api)->path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  const auto find = [library](const char* name, auto* function) {
    *function = reinterpret_cast<std::decay_t<decltype(*function)>>(
        dlsym(library, name));
    EXPECT_NE(*function, nullptr) << name;
  };
  find("FakeFail", &fake.fail);
  find("FakeComplaint", &fake.complaint);
  find("FakeHeuristics", &fake.heuristics);
  find("FakeProducts", &fake.products);
  find("FakeLiving", &fake.living);
  return fake;
}

class CublasLtTest : public testing::Test {
 protected:
  void TearDown() override { fake_.fail("", 0); }

  std::unique_ptr<DeviceProducts> Products() const {
    auto library = CublasLt::Open(on_.device(), fake_.api);
    EXPECT_TRUE(library.ok()) << library.status();
    return DeviceProducts::Of(*std::move(library));
  }

  const Fake fake_ = LoadFake();
  const TestDevice on_{Device::Cpu()};
};

struct Case {
  int64_t n_rows, n_cols, depth;
  bool left_by_depth, right_by_depth, accumulate, bias, halves;
  int64_t n_batch = 1;
  int64_t beside = 0;  // numbers before the operands begin
};

// An operand of `n` lines or of lines of `n`, with room between lines and
// between those of a batch.
struct HostOperand {
  HostOperand(const Case& c, int64_t n, bool by_depth, uint32_t seed)
      : is_by_depth(by_depth),
        beside(c.beside),
        stride((by_depth ? c.depth : n) + (n == 1 ? 0 : 3)),
        step(stride * (by_depth ? n : c.depth) + 5),
        values(NormalHalves(beside + step * c.n_batch, seed)) {}

  Operand On(const DeviceBuffer& buffer) const {
    const uint16_t* const data = buffer.as<uint16_t>() + beside;
    return is_by_depth ? Operand{data, stride, 1} : Operand{data, 1, stride};
  }
  double At(int64_t batch, int64_t i, int64_t k) const {
    return FloatFromBf16(
        values[beside + batch * step +
               (is_by_depth ? i * stride + k : k * stride + i)]);
  }

  bool is_by_depth;
  int64_t beside;
  int64_t stride;
  int64_t step;
  std::vector<uint16_t> values;
};

void ExpectProduct(const TestDevice& on, DeviceProducts* products,
                   const Case& c) {
  SCOPED_TRACE(testing::Message()
               << c.n_rows << " x " << c.n_cols << " x " << c.depth
               << " by depth " << c.left_by_depth << c.right_by_depth);
  const HostOperand left(c, c.n_rows, c.left_by_depth, 1);
  const HostOperand right(c, c.n_cols, c.right_by_depth, 2);
  const std::vector<float> bias = NormalNumbers<float>(c.n_cols, 3);
  const int64_t out_row = c.n_cols + 2;
  const int64_t out_step = c.n_rows * out_row + 7;
  // Nothing of what is overwritten is read.
  std::vector<float> before(
      static_cast<size_t>(c.n_batch * out_step),
      c.accumulate ? 0.5f : std::numeric_limits<float>::quiet_NaN());
  const DeviceBuffer d_left = on.Upload(left.values);
  const DeviceBuffer d_right = on.Upload(right.values);
  const DeviceBuffer d_bias = on.Upload(bias);
  const DeviceBuffer d_out = on.Upload(before);
  const DeviceBuffer d_halves =
      on.Upload(std::vector<uint16_t>(before.size(), 0x7fc1));
  Product product = {left.On(d_left), right.On(d_right), c.n_rows,
                     c.n_cols,        c.depth,           d_out.as<float>(),
                     out_row,         c.accumulate};
  product.bias = c.bias ? d_bias.as<float>() : nullptr;
  product.halves = c.halves ? d_halves.as<uint16_t>() : nullptr;
  product.n_batch = c.n_batch;
  product.left_step = left.step;
  product.right_step = right.step;
  product.out_step = out_step;
  const absl::Status status = products->Multiply(product, on.stream());
  ASSERT_TRUE(status.ok()) << status;
  const auto floats = on.Download<float>(d_out);
  const auto halves = on.Download<uint16_t>(d_halves);
  for (int64_t at = 0; at < c.n_batch * out_step; ++at) {
    const int64_t batch = at / out_step;
    const int64_t i = at % out_step / out_row;
    const int64_t j = at % out_step % out_row;
    if (i >= c.n_rows || j >= c.n_cols) {
      EXPECT_EQ(halves[at], 0x7fc1);
      EXPECT_TRUE(c.accumulate ? floats[at] == 0.5f : std::isnan(floats[at]));
      continue;
    }
    double sum = (c.accumulate ? 0.5 : 0) + (c.bias ? bias[j] : 0);
    for (int64_t k = 0; k < c.depth; ++k) {
      sum += left.At(batch, i, k) * right.At(batch, j, k);
    }
    // Float32 sums of some `depth` terms of about 1.
    const double tolerance = 1e-6 * static_cast<double>(c.depth + 1);
    if (c.halves) {
      ASSERT_NEAR(FloatFromBf16(halves[at]), sum,
                  tolerance + std::fabs(sum) * 0x1p-8);
    } else {
      ASSERT_NEAR(floats[at], sum, tolerance) << i << " " << j;
    }
  }
}

TEST_F(CublasLtTest, EveryLayoutAndResult) {
  const auto products = Products();
  EXPECT_EQ(products->name(), "cuBLASLt 13.1.0");
  const int before = fake_.products();
  int n = 0;
  for (const bool left : {true, false}) {
    for (const bool right : {true, false}) {
      ExpectProduct(on_, products.get(),
                    {7, 13, 21, left, right, false, false, false});
      ExpectProduct(on_, products.get(),
                    {13, 7, 5, left, right, true, true, false});
      ExpectProduct(on_, products.get(),
                    {5, 9, 11, left, right, false, true, false, 1, 3});
      ExpectProduct(on_, products.get(),
                    {8, 16, 24, left, right, false, false, true});
      ExpectProduct(on_, products.get(),
                    {6, 5, 4, left, right, true, false, false, 3});
      // Lines that are alone have strides that say nothing.
      ExpectProduct(on_, products.get(),
                    {1, 6, 9, left, right, false, false, false});
      ExpectProduct(on_, products.get(),
                    {6, 1, 9, left, right, false, false, false});
      n += 7;
      EXPECT_EQ(fake_.products() - before, n) << fake_.complaint();
    }
  }
}

TEST_F(CublasLtTest, AsksForAnAlgorithmOnceAShape) {
  const auto products = Products();
  const int before = fake_.heuristics();
  const Case c = {7, 13, 21, true, true, false, true, false};
  for (int i = 0; i < 3; ++i) {
    ExpectProduct(on_, products.get(), c);
  }
  EXPECT_EQ(fake_.heuristics() - before, 1);
  // Another alignment may ask for another algorithm.
  Case beside = c;
  beside.beside = 1;
  ExpectProduct(on_, products.get(), beside);
  EXPECT_EQ(fake_.heuristics() - before, 2) << fake_.complaint();
}

// What the library has nothing for goes to our own kernels.
TEST_F(CublasLtTest, GoesOnWithoutIt) {
  const Case c = {7, 13, 21, true, false, true, false, false};
  const auto products = Products();
  const int before = fake_.products();
  // A bias of bfloat16 results, and no depth.
  ExpectProduct(on_, products.get(),
                {7, 13, 21, true, true, false, true, true});
  ExpectProduct(on_, products.get(),
                {7, 13, 0, true, true, false, false, false});
  fake_.fail("cublasLtMatmulAlgoGetHeuristic", cublas_lt::kNotSupported);
  ExpectProduct(on_, products.get(), c);
  fake_.fail("cublasLtMatmul", cublas_lt::kNotSupported);
  ExpectProduct(on_, products.get(),
                {9, 13, 21, true, false, true, false, false});
  EXPECT_EQ(fake_.products(), before);
}

TEST_F(CublasLtTest, ErrorsNameTheCallAndTheSizes) {
  std::vector<uint16_t> numbers(64);
  std::vector<float> out(64);
  const Product product = {{numbers.data(), 4, 1},
                           {numbers.data(), 4, 1},
                           4,
                           4,
                           4,
                           out.data(),
                           4,
                           false};
  fake_.fail("cublasLtMatmul", 13);
  const absl::Status failed = Products()->Multiply(product, on_.stream());
  EXPECT_TRUE(absl::IsInternal(failed)) << failed;
  EXPECT_THAT(std::string(failed.message()),
              testing::AllOf(HasSubstr("cublasLtMatmul: cuBLASLt status 13"),
                             HasSubstr("4 x 4 x 4")));
  fake_.fail("cublasLtMatmulAlgoGetHeuristic", cublas_lt::kAllocFailed);
  EXPECT_TRUE(
      absl::IsResourceExhausted(Products()->Multiply(product, on_.stream())));
  fake_.fail("cublasLtCreate", 1);
  EXPECT_THAT(
      std::string(CublasLt::Open(on_.device(), fake_.api).status().message()),
      HasSubstr("cublasLtCreate: cuBLASLt status 1"));
}

// Without memory for a workspace algorithms without one are asked for.
TEST_F(CublasLtTest, NeedsNoWorkspaceAndLeavesNothingBehind) {
  const int before = fake_.living();
  {
    const TestDevice on(Device::Cpu(1 << 20));
    auto library = CublasLt::Open(on.device(), fake_.api);
    ASSERT_TRUE(library.ok());
    const auto products = DeviceProducts::Of(*std::move(library));
    const int n = fake_.products();
    ExpectProduct(on, products.get(),
                  {7, 13, 21, true, true, false, false, false});
    EXPECT_EQ(fake_.products(), n + 1) << fake_.complaint();
    EXPECT_GT(fake_.living(), before);
  }
  EXPECT_EQ(fake_.living(), before);
}

TEST(LoadNvidiaLibraryTest, TellsWhereItLookedAndWhatIsMissing) {
  setenv("NARROW_CUDA_LIBRARIES", "/nowhere", 1);
  void (*function)() = nullptr;
  const auto sought = [&](const char* symbol) {
    return std::string(LoadNvidiaLibrary("cuX", "libcublasLt_narrow.so", {"2"},
                                         {Symbol(symbol, &function)})
                           .status()
                           .message());
  };
  EXPECT_THAT(sought("x"),
              testing::AllOf(HasSubstr("cuX was not found as "
                                       "/nowhere/libcublasLt_narrow.so.2"),
                             HasSubstr("NARROW_CUDA_LIBRARIES")));
  setenv("NARROW_CUDA_LIBRARIES", kFolder, 1);
  const auto lacking = LoadNvidiaLibrary("cuX", "libcublasLt.so", {"13"},
                                         {Symbol("cublasLtNone", &function)});
  EXPECT_THAT(std::string(lacking.status().message()),
              HasSubstr("libcublasLt.so.13 (without cublasLtNone)"));
}

}  // namespace
}  // namespace narrow
