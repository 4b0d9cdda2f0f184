// Products against the definition over awkward sizes, and their independence
// from tiling and threads.

#include "kernels/matmul/matmul.h"

#include <cmath>
#include <random>
#include <vector>

#include "formats/base/float16.h"
#include "formats/base/parallel.h"
#include "gtest/gtest.h"
#include "kernels/cpu.h"

namespace narrow {
namespace {

struct Shape {
  int64_t n_outputs, n_inputs;
};
constexpr Shape kShapes[] = {{1, 1},      {3, 5},      {16, 64},
                             {64, 48},    {257, 33},   {320, 640},
                             {1000, 100}, {300, 4096}, {96, 14336}};
constexpr int64_t kRows = 130;

std::vector<float> Normal(int64_t n, bool bf16, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) {
    v = normal(random);
    if (bf16) {
      v = FloatFromBf16(Bf16FromFloat(v));
    }
  }
  return values;
}

std::vector<uint16_t> ToBf16(const std::vector<float>& values) {
  std::vector<uint16_t> out;
  for (const float v : values) {
    out.push_back(Bf16FromFloat(v));
  }
  return out;
}

class MatmulTest : public testing::TestWithParam<ProductType> {
 protected:
  void SetUp() override {
    if (bf16() && !CpuHasBf16Products()) {
      GTEST_SKIP() << "no bfloat16 products on this processor";
    }
  }
  bool bf16() const { return GetParam() == ProductType::kBf16; }

  PackedMatrix Pack(const std::vector<float>& weights, const Shape& shape,
                    Matmul* matmul) {
    auto matrix = matmul->NewMatrix(shape.n_outputs, shape.n_inputs);
    EXPECT_TRUE(matrix.ok()) << matrix.status();
    for (int64_t p = 0; p < matrix->n_panels(); ++p) {
      const float* rows =
          weights.data() + matrix->first_col(p) * shape.n_inputs;
      matmul->PackPanel(rows, p, &*matrix);
    }
    return *std::move(matrix);
  }

  // All of rows[n_rows] times the matrix, in tiles of `tile_rows`.
  std::vector<float> Product(const std::vector<float>& rows, int64_t n_rows,
                             int64_t tile_rows, const PackedMatrix& matrix,
                             Matmul* matmul, int n_threads = 1) {
    const int64_t n_in = matrix.n_inputs(), n_out = matrix.n_outputs();
    const std::vector<uint16_t> rounded = ToBf16(rows);
    std::vector<float> out(static_cast<size_t>(n_rows * n_out));
    ThreadPool pool(n_threads);
    const int64_t n_tiles = (n_rows + tile_rows - 1) / tile_rows;
    pool.ParallelFor(n_tiles * matrix.n_panels(), [&](int64_t task) {
      const int64_t panel = task % matrix.n_panels();
      const int64_t first = task / matrix.n_panels() * tile_rows;
      const int64_t n = std::min(tile_rows, n_rows - first);
      const int64_t cols = matrix.panel_cols(panel);
      std::vector<float> tile(static_cast<size_t>(n * cols));
      if (bf16()) {
        matmul->Multiply(rounded.data() + first * n_in, n, matrix, panel,
                         tile.data());
      } else {
        matmul->Multiply(rows.data() + first * n_in, n, matrix, panel,
                         tile.data());
      }
      for (int64_t r = 0; r < n; ++r) {
        std::copy_n(tile.data() + r * cols, cols,
                    out.data() + (first + r) * n_out + matrix.first_col(panel));
      }
    });
    return out;
  }
};

TEST_P(MatmulTest, IsNearTheDefinition) {
  for (const Shape& shape : kShapes) {
    Matmul matmul(GetParam());
    const auto rows = Normal(kRows * shape.n_inputs, bf16(), 1);
    const auto weights = Normal(shape.n_outputs * shape.n_inputs, bf16(), 2);
    const PackedMatrix matrix = Pack(weights, shape, &matmul);
    const auto got = Product(rows, kRows, 64, matrix, &matmul);
    std::vector<float> want(got.size());
    MultiplyReference(rows.data(), kRows, weights.data(), shape.n_outputs,
                      shape.n_inputs, want.data());
    // Operands are exact, so only float32 sums of n terms of size 1 differ: a
    // random walk of n roundings of 2^-24 * sqrt(n) each, times 6.
    const double bound = 6 * 0x1p-24 * static_cast<double>(shape.n_inputs);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], bound + 1e-6)
          << shape.n_outputs << " x " << shape.n_inputs << " at " << i;
    }
  }
}

// Grouping of windows, batches of experts and threads must not change a bit.
TEST_P(MatmulTest, DoesNotDependOnTilesOrThreads) {
  for (const Shape& shape : kShapes) {
    Matmul matmul(GetParam());
    const auto rows = Normal(kRows * shape.n_inputs, bf16(), 3);
    const auto weights = Normal(shape.n_outputs * shape.n_inputs, bf16(), 4);
    const PackedMatrix matrix = Pack(weights, shape, &matmul);
    const auto whole = Product(rows, kRows, kRows, matrix, &matmul);
    for (const int64_t tile_rows : {1, 7, 16, 48, 128}) {
      EXPECT_EQ(Product(rows, kRows, tile_rows, matrix, &matmul, 3), whole)
          << shape.n_outputs << " x " << shape.n_inputs << ", tiles of "
          << tile_rows;
    }
  }
}

TEST_P(MatmulTest, TransposedPackingAndAccumulation) {
  constexpr Shape kShape = {40, 64};
  constexpr int64_t kStride = 50;
  Matmul matmul(GetParam());
  const auto rows = Normal(9 * kShape.n_inputs, bf16(), 5);
  const auto weights = Normal(kShape.n_outputs * kShape.n_inputs, bf16(), 6);
  std::vector<float> columns(kStride * kShape.n_inputs, 7.0f);
  for (int64_t o = 0; o < kShape.n_outputs; ++o) {
    for (int64_t i = 0; i < kShape.n_inputs; ++i) {
      columns[i * kStride + o] = weights[o * kShape.n_inputs + i];
    }
  }
  const PackedMatrix matrix = Pack(weights, kShape, &matmul);
  auto transposed = matmul.NewMatrix(kShape.n_outputs, kShape.n_inputs);
  ASSERT_TRUE(transposed.ok()) << transposed.status();
  matmul.PackTransposed(columns.data(), kStride, 0, &*transposed);
  std::vector<float> want = Product(rows, 9, 9, matrix, &matmul);
  EXPECT_EQ(Product(rows, 9, 9, *transposed, &matmul), want);

  std::vector<float> sum(want.size(), 100.0f);
  if (bf16()) {
    matmul.Multiply(ToBf16(rows).data(), 9, matrix, 0, sum.data(), true);
  } else {
    matmul.Multiply(rows.data(), 9, matrix, 0, sum.data(), true);
  }
  for (size_t i = 0; i < sum.size(); ++i) {
    ASSERT_NEAR(sum[i], 100 + want[i], 64 * 0x1p-17);
  }
}

std::string NameOf(ProductType type) {
  switch (type) {
    case ProductType::kF32:
      return "f32";
    case ProductType::kBf16:
      return "bf16";
    case ProductType::kReproducible:
      return "reproducible";
  }
  return "";
}

INSTANTIATE_TEST_SUITE_P(Types, MatmulTest,
                         testing::Values(ProductType::kF32, ProductType::kBf16,
                                         ProductType::kReproducible),
                         [](const auto& info) { return NameOf(info.param); });

// Whatever the instruction set: BUILD runs this test for each.
TEST(ReproducibleTest, ElementsAreChainsOfFusedMultiplyAdds) {
  constexpr Shape kShape = {300, 600};
  constexpr int64_t kFew = 5;
  Matmul matmul(ProductType::kReproducible);
  const auto rows = Normal(kFew * kShape.n_inputs, false, 7);
  const auto weights = Normal(kShape.n_outputs * kShape.n_inputs, false, 8);
  auto matrix = matmul.NewMatrix(kShape.n_outputs, kShape.n_inputs);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  for (int64_t p = 0; p < matrix->n_panels(); ++p) {
    const int64_t n_cols = matrix->panel_cols(p);
    const float* panel =
        weights.data() + matrix->first_col(p) * kShape.n_inputs;
    matmul.PackPanel(panel, p, &*matrix);
    std::vector<float> tile(static_cast<size_t>(kFew * n_cols), 0.5f);
    matmul.Multiply(rows.data(), kFew, *matrix, p, tile.data(), true);
    for (int64_t r = 0; r < kFew; ++r) {
      for (int64_t c = 0; c < n_cols; ++c) {
        float sum = 0.5f;
        for (int64_t i = 0; i < kShape.n_inputs; ++i) {
          sum = std::fma(rows[r * kShape.n_inputs + i],
                         panel[c * kShape.n_inputs + i], sum);
        }
        ASSERT_EQ(tile[r * n_cols + c], sum);
      }
    }
  }
}

}  // namespace
}  // namespace narrow
