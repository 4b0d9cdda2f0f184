// Products and Gram matrices of a device against those of kernels/linalg, bit
// by bit: the code of the card's threads on the CPU, and a card where there is
// one.

#include "kernels/linalg/device/device_chains.h"

#include <cmath>
#include <limits>

#include "kernels/linalg/device/fast_gram.h"
#include "kernels/linalg/gemm.h"
#include "kernels/linalg/gram.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

struct Sizes {
  int64_t m, n, k;
};
// Tiles have 128 or 64 rows, stripes 16.
constexpr Sizes kSizes[] = {{1, 1, 1},      {1, 1, 0},     {3, 5, 7},
                            {64, 64, 16},   {65, 63, 17},  {128, 128, 32},
                            {130, 260, 33}, {1, 300, 70},  {300, 1, 70},
                            {57, 64, 513},  {1100, 20, 9}, {20, 1100, 31}};

// `n_batch` products with leading dimensions larger than needed by `extra`.
template <typename T>
void ExpectSame(const TestDevice& on, const Sizes& s, bool transposed,
                Update update, int64_t extra, int64_t n_batch) {
  const int64_t lda = s.k + extra;
  const int64_t ldb = (transposed ? s.k : s.n) + extra;
  const int64_t ldc = s.n + extra;
  const int64_t a_step = s.m * lda;
  const int64_t b_step = (transposed ? s.n : s.k) * ldb;
  const int64_t c_step = s.m * ldc;
  const auto a = NormalNumbers<T>(n_batch * a_step + 1, 1);
  const auto b = NormalNumbers<T>(n_batch * b_step + 1, 2);
  std::vector<T> c = NormalNumbers<T>(n_batch * c_step, 3);
  const DeviceBuffer da = on.Upload(a);
  const DeviceBuffer db = on.Upload(b);
  const DeviceBuffer dc = on.Upload(c);
  auto product =
      (transposed ? chain::GemmNT<T>
                  : chain::Gemm<T>)(update, s.m, s.n, s.k, da.as<T>(), lda,
                                    db.as<T>(), ldb, dc.as<T>(), ldc);
  product.n_batch = n_batch;
  product.left_step = a_step;
  product.right_step = b_step;
  product.out_step = c_step;
  ASSERT_TRUE(RunChainProduct(product, on.stream()).ok());
  using Function = void (*)(ThreadPool*, Update, int64_t, int64_t, int64_t,
                            const T*, int64_t, const T*, int64_t, T*, int64_t);
  const auto reference = transposed ? static_cast<Function>(&GemmNT)
                                    : static_cast<Function>(&Gemm);
  for (int64_t i = 0; i < n_batch; ++i) {
    reference(nullptr, update, s.m, s.n, s.k, a.data() + i * a_step, lda,
              b.data() + i * b_step, ldb, c.data() + i * c_step, ldc);
  }
  EXPECT_TRUE(SameBits(c, on.Download<T>(dc)))
      << s.m << " x " << s.n << " x " << s.k << ", transposed " << transposed
      << ", update " << static_cast<int>(update) << ", extra " << extra;
}

TEST(DeviceChainsTest, ProductsHaveTheProcessorsBits) {
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    for (const Sizes& sizes : kSizes) {
      for (const bool transposed : {false, true}) {
        for (const Update update :
             {Update::kSet, Update::kAdd, Update::kSubtract}) {
          // Rows that begin at 16 bytes in one of them, and elsewhere.
          const int64_t extra = update == Update::kAdd ? 8 - sizes.n % 4 : 3;
          ExpectSame<float>(on, sizes, transposed, update, extra, 1);
          ExpectSame<double>(on, sizes, transposed, update, extra, 1);
        }
      }
    }
  }
}

TEST(DeviceChainsTest, BatchesAreProductsOfTheirOwn) {
  for (const TestDevice& on : TestDevices()) {
    ExpectSame<float>(on, {33, 70, 21}, false, Update::kSubtract, 1, 5);
    ExpectSame<double>(on, {33, 70, 21}, true, Update::kAdd, 0, 5);
  }
}

// Sums that end in a negative zero stay one whatever the depth.
TEST(DeviceChainsTest, KeepsNegativeZeros) {
  for (const TestDevice& on : TestDevices()) {
    const DeviceBuffer a = on.Upload(std::vector<float>{1e-30f, 0, 0});
    const DeviceBuffer b = on.Upload(std::vector<float>{-1e-30f, 0, 0});
    const DeviceBuffer c = on.Upload(std::vector<float>{1});
    ASSERT_TRUE(
        RunChainProduct(chain::GemmNT(Update::kSet, 1, 1, 1, a.as<float>(), 3,
                                      b.as<float>(), 3, c.as<float>(), 1),
                        on.stream())
            .ok());
    EXPECT_TRUE(SameBits(on.Download<float>(c), {-0.0f}));
  }
}

TEST(DeviceChainsTest, GramMatricesHaveTheProcessorsBits) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    for (const int64_t n_cols : {1, 30, 132, 200}) {
      for (const int64_t n_rows : {0, 1, 255, 256, 700}) {
        for (const bool weighted : {false, true}) {
          auto rows = NormalNumbers<float>(n_rows * n_cols, 1);
          auto weights = NormalNumbers<float>(n_rows, 2);
          if (weighted && n_rows > 1) {
            weights[1] = 0;
            rows[static_cast<size_t>(n_cols)] = kNan;
          }
          auto gram = NormalNumbers<double>(n_cols * n_cols, 3);
          const DeviceBuffer d_rows = on.Upload(rows);
          const DeviceBuffer d_weights = on.Upload(weights);
          const DeviceBuffer d_gram = on.Upload(gram);
          chain::GramTask task;
          task.left = task.right = d_rows.as<float>();
          task.left_stride = task.right_stride = n_cols;
          task.weights = weighted ? d_weights.as<float>() : nullptr;
          task.m = task.n = task.sums_stride = n_cols;
          task.n_rows = n_rows;
          task.upper = true;
          task.sums = d_gram.as<double>();
          ASSERT_TRUE(RunGram(task, on.stream()).ok());
          AddGram(nullptr, rows.data(), n_rows, n_cols,
                  weighted ? weights.data() : nullptr, gram.data());
          EXPECT_TRUE(SameBits(gram, on.Download<double>(d_gram)))
              << n_rows << " x " << n_cols << ", weighted " << weighted;
        }
      }
    }
  }
}

// On tensor cores: rounded rows, in panels and blocks, weighted or not; nothing
// below the diagonal.
TEST(FastGramsTest, SumsAreThoseOfRoundedRows) {
  constexpr int64_t kRows = FastGrams::kBlockRows + 9;
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    const auto products = DeviceProducts::OfOwnKernels();
    FastGrams grams(on.device(), products.get());
    for (const int64_t n_rows : {int64_t{0}, int64_t{3}, kRows}) {
      const int64_t n = n_rows == kRows ? 20 : FastGrams::kPanelCols + 7;
      for (const bool weighted : {false, true}) {
        auto rows = NormalNumbers<float>(n_rows * n, 1);
        std::vector<float> weights;
        for (const float w : NormalNumbers<float>(n_rows, 2)) {
          weights.push_back(std::fabs(w));
        }
        if (weighted && n_rows > 1) {
          weights[1] = 0;
          rows[static_cast<size_t>(n)] =
              std::numeric_limits<float>::quiet_NaN();
        }
        auto gram = NormalNumbers<double>(n * n, 3);
        const DeviceBuffer d_rows = on.Upload(rows);
        const DeviceBuffer d_weights = on.Upload(weights);
        const DeviceBuffer d_gram = on.Upload(gram);
        chain::GramTask task;
        task.left = task.right = d_rows.as<float>();
        task.left_stride = task.right_stride = n;
        task.weights = weighted ? d_weights.as<float>() : nullptr;
        task.m = task.n = task.sums_stride = n;
        task.n_rows = n_rows;
        task.upper = true;
        task.sums = d_gram.as<double>();
        ASSERT_TRUE(grams.Add(task, on.stream()).ok());
        const auto before = gram;
        AddGram(nullptr, rows.data(), n_rows, n,
                weighted ? weights.data() : nullptr, gram.data());
        const auto got = on.Download<double>(d_gram);
        for (int64_t i = 0; i < n; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            const size_t at = static_cast<size_t>(i * n + j);
            if (j < i) {
              ASSERT_EQ(got[at], before[at]) << i << " " << j;
              continue;
            }
            double size = 0;
            for (int64_t r = 0; r < n_rows; ++r) {
              const double w = weighted ? weights[r] : 1;
              size += w == 0 ? 0
                             : w * std::fabs(double{rows[r * n + i]} *
                                             rows[r * n + j]);
            }
            // Two roundings by 2^-8, and float32 sums.
            ASSERT_NEAR(got[at], gram[at], size * (0x1p-7 + 0x1p-13))
                << i << " " << j;
          }
        }
      }
    }
  }
}

TEST(FastGramsTest, CrossMoments) {
  constexpr int64_t kRows = 100, kLeft = 40, kRight = 70;
  const auto left = NormalNumbers<float>(kRows * kLeft, 1);
  const auto right = NormalNumbers<float>(kRows * kRight, 2);
  for (const TestDevice& on : TestDevices()) {
    auto cross = NormalNumbers<double>(kLeft * kRight, 4);
    const DeviceBuffer d_left = on.Upload(left);
    const DeviceBuffer d_right = on.Upload(right);
    const DeviceBuffer d_cross = on.Upload(cross);
    chain::GramTask task;
    task.left = d_left.as<float>();
    task.right = d_right.as<float>();
    task.left_stride = task.m = kLeft;
    task.right_stride = task.n = task.sums_stride = kRight;
    task.n_rows = kRows;
    task.sums = d_cross.as<double>();
    const auto products = DeviceProducts::OfOwnKernels();
    ASSERT_TRUE(
        FastGrams(on.device(), products.get()).Add(task, on.stream()).ok());
    AddCross(nullptr, left.data(), kLeft, right.data(), kRight, kRows, nullptr,
             cross.data());
    const auto got = on.Download<double>(d_cross);
    for (size_t i = 0; i < got.size(); ++i) {
      // Two roundings by 2^-8 of 100 products of about 1.
      ASSERT_NEAR(got[i], cross[i], kRows * 0x1p-7);
    }
  }
}

// Cross moments of the experts of a layer at once, one of which saw nothing.
TEST(DeviceChainsTest, CrossMomentsOfGroups) {
  const std::vector<int64_t> offsets = {0, 300, 300, 310, 900};
  constexpr int64_t kLeft = 40, kRight = 70, kSums = kLeft * kRight;
  const auto left = NormalNumbers<float>(900 * kLeft, 1);
  const auto right = NormalNumbers<float>(900 * kRight, 2);
  const auto weights = NormalNumbers<float>(900, 3);
  for (const TestDevice& on : TestDevices()) {
    auto cross = NormalNumbers<double>(4 * kSums, 4);
    const DeviceBuffer d_left = on.Upload(left);
    const DeviceBuffer d_right = on.Upload(right);
    const DeviceBuffer d_weights = on.Upload(weights);
    const DeviceBuffer d_cross = on.Upload(cross);
    const DeviceBuffer d_offsets = on.Upload(offsets);
    chain::GramTask task;
    task.left = d_left.as<float>();
    task.right = d_right.as<float>();
    task.left_stride = task.m = kLeft;
    task.right_stride = task.n = task.sums_stride = kRight;
    task.weights = d_weights.as<float>();
    task.n_rows = 900;
    task.sums = d_cross.as<double>();
    task.n_batch = 4;
    task.offsets = d_offsets.as<int64_t>();
    task.sums_step = kSums;
    ASSERT_TRUE(RunGram(task, on.stream()).ok());
    for (size_t i = 0; i < 4; ++i) {
      AddCross(nullptr, left.data() + offsets[i] * kLeft, kLeft,
               right.data() + offsets[i] * kRight, kRight,
               offsets[i + 1] - offsets[i], weights.data() + offsets[i],
               cross.data() + static_cast<int64_t>(i) * kSums);
    }
    EXPECT_TRUE(SameBits(cross, on.Download<double>(d_cross)));
  }
}

}  // namespace
}  // namespace narrow
