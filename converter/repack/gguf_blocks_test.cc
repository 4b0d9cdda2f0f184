#include "converter/repack/gguf_blocks.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "formats/packing/scale_type.h"
#include "gtest/gtest.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr int64_t kRows = 6;
constexpr int64_t kCols = 128;

// Codes of every value, scales of both signs, zero points of all kinds.
QuantizedMatrix Matrix(const WeightScheme& scheme) {
  QuantizedMatrix m;
  m.scheme = scheme;
  m.Resize(kRows, kCols);
  for (size_t i = 0; i < m.codes.size(); ++i) {
    m.codes[i] = static_cast<uint8_t>(
        (i * 2654435761u >> 11) & static_cast<size_t>(scheme.n_codes() - 1));
  }
  for (size_t i = 0; i < m.scales.size(); ++i) {
    const float scale = static_cast<float>(1 + i % 50) / 1024.0f;
    m.scales[i] = RoundToScaleType(
        scheme.scale_type,
        i % 3 == 2 && scheme.code == CodeKind::kInteger ? -scale : scale);
  }
  for (size_t i = 0; i < m.zeros.size(); ++i) {
    m.zeros[i] = static_cast<float>(i % 16);
  }
  return m;
}

std::vector<int64_t> AllRows() { return {0, 1, 2, 3, 4, 5}; }

absl::StatusOr<std::vector<uint8_t>> Blocks(const QuantizedMatrix& m,
                                            QuantType type) {
  std::vector<uint8_t> bytes;
  const absl::Status status = AppendBlocks(m, AllRows(), type, 0, &bytes);
  if (!status.ok()) {
    return status;
  }
  return bytes;
}

absl::StatusOr<QuantizedMatrix> Read(QuantType type,
                                     const std::vector<uint8_t>& bytes) {
  const size_t row_bytes = bytes.size() / kRows;
  return ReadBlocks(type, kRows, kCols, [&](int64_t row) {
    return absl::MakeConstSpan(bytes).subspan(
        static_cast<size_t>(row) * row_bytes, row_bytes);
  });
}

TEST(GgufBlocks, DecodeToTheSameWeightsAndReadBack) {
  for (const QuantType type : {QuantType::kQ4_0, QuantType::kQ4_1,
                               QuantType::kQ8_0, QuantType::kMXFP4}) {
    SCOPED_TRACE(TypeName(type));
    const QuantizedMatrix m = Matrix(SchemeOfBlocks(type));
    const auto types = BlockTypes(m.scheme, kCols);
    ASSERT_TRUE(types.ok()) << types.status();
    EXPECT_EQ(types->back(), type);
    const auto bytes = Blocks(m, type);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    // ggml's own arithmetic, by the codec.
    std::vector<float> meant(static_cast<size_t>(kRows * kCols));
    std::vector<float> got(meant.size());
    DequantizeRows(m, 0, kRows, meant.data());
    FindCodec(type)->Decode(bytes->data(), kRows * kCols / 32, got.data());
    EXPECT_EQ(meant, got);
    const auto back = Read(type, *bytes);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->codes, m.codes);
    EXPECT_EQ(back->scales, m.scales);
    EXPECT_EQ(back->zeros, m.zeros);
    EXPECT_TRUE(back->scheme == m.scheme);
  }
}

TEST(GgufBlocks, RowsComeInTheOrderAsked) {
  const QuantizedMatrix m = Matrix(SchemeOfBlocks(QuantType::kQ4_0));
  const std::vector<uint8_t> all = *Blocks(m, QuantType::kQ4_0);
  const size_t row_bytes = all.size() / kRows;
  std::vector<uint8_t> some;
  ASSERT_TRUE(AppendBlocks(m, {4, 1}, QuantType::kQ4_0, 0, &some).ok());
  ASSERT_EQ(some.size(), 2 * row_bytes);
  EXPECT_TRUE(std::equal(some.begin(), some.begin() + row_bytes,
                         all.begin() + 4 * row_bytes));
  EXPECT_TRUE(std::equal(some.begin() + row_bytes, some.end(),
                         all.begin() + row_bytes));
}

TEST(GgufBlocks, WiderGroupsRepeatTheirScale) {
  for (const int64_t cols : {int64_t{64}, int64_t{128}, int64_t{0}}) {
    WeightScheme scheme = SchemeOfBlocks(QuantType::kQ8_0);
    scheme.block_cols = cols;
    const QuantizedMatrix m = Matrix(scheme);
    const auto bytes = Blocks(m, QuantType::kQ8_0);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    const auto back = Read(QuantType::kQ8_0, *bytes);
    ASSERT_TRUE(back.ok()) << back.status();
    std::vector<float> a(static_cast<size_t>(kRows * kCols));
    std::vector<float> b(a.size());
    DequantizeRows(m, 0, kRows, a.data());
    DequantizeRows(*back, 0, kRows, b.data());
    EXPECT_EQ(a, b);
  }
}

TEST(GgufBlocks, ZeroPointsThatShiftNothingOutAreQ4_0) {
  QuantizedMatrix m = Matrix(SchemeOfBlocks(QuantType::kQ4_1));
  m.zeros.assign(m.zeros.size(), 8);
  const auto a = Blocks(m, QuantType::kQ4_0);
  m.scheme.zero = ZeroKind::kNone;
  m.zeros.clear();
  const auto b = Blocks(m, QuantType::kQ4_0);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(*a, *b);
}

TEST(GgufBlocks, RefuseWhatWouldBeLost) {
  const auto expect = [](const absl::Status& status, const char* words) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(status.message(), words)) << status;
  };
  const size_t at = 4 * 3 + 2;  // the scale of row 3, columns 64 to 95
  QuantizedMatrix m = Matrix(SchemeOfBlocks(QuantType::kQ4_0));
  m.scales[at] = std::ldexp(1.0f + 1.0f / 64, -20);  // bf16, not f16
  expect(Blocks(m, QuantType::kQ4_0).status(),
         "row 3, columns 64 to 95 cannot be held by q4_0");
  m.scales[at] = 1e5f;
  expect(Blocks(m, QuantType::kQ8_0).status(), "float16");

  m = Matrix(SchemeOfBlocks(QuantType::kQ4_1));
  m.scales[at] = 1025.0f / 1048576;  // eleven bits
  m.zeros[at] = 13;
  expect(Blocks(m, QuantType::kQ4_1).status(), "zero point 13");
  expect(Blocks(m, QuantType::kQ4_0).status(), "integers from -8 to 7");
  EXPECT_TRUE(Blocks(m, QuantType::kQ8_0).ok());  // any integer code fits

  m = Matrix(SchemeOfBlocks(QuantType::kQ4_1));
  m.scheme.zero = ZeroKind::kFloat;
  m.zeros[at] = 7.5f;
  expect(Blocks(m, QuantType::kQ8_0).status(), "zero point 7.5");

  m = Matrix(SchemeOfBlocks(QuantType::kQ4_0));
  m.scheme.column_groups = true;
  m.group_of_column.assign(kCols, 0);
  m.group_of_column[40] = 2;
  expect(Blocks(m, QuantType::kQ4_0).status(), "act-order");
}

TEST(GgufBlocks, SchemesThatNoTypeHas) {
  WeightScheme scheme;
  scheme.block_cols = 48;
  EXPECT_FALSE(BlockTypes(scheme, 96).ok());
  scheme.block_cols = 32;
  EXPECT_FALSE(BlockTypes(scheme, 48).ok());
  scheme.flat = true;
  EXPECT_EQ(BlockTypes(scheme, 64).status().code(),
            absl::StatusCode::kUnimplemented);
  scheme.flat = false;
  scheme.code = CodeKind::kNf4;
  EXPECT_FALSE(BlockTypes(scheme, 64).ok());
  scheme.code = CodeKind::kE2M1;
  scheme.scale_type = QuantType::kF8E4M3;
  EXPECT_FALSE(BlockTypes(scheme, 64).ok());
}

TEST(GgufBlocks, DamagedBlocksAreNamed) {
  const auto expect = [](QuantType type, size_t offset, uint8_t value,
                         absl::StatusCode code) {
    std::vector<uint8_t> bytes = *Blocks(Matrix(SchemeOfBlocks(type)), type);
    const size_t row_bytes = bytes.size() / kRows;
    bytes[2 * row_bytes + Geometry(type).block_bytes + offset] = value;
    const absl::Status status = Read(type, bytes).status();
    EXPECT_EQ(status.code(), code) << TypeName(type);
    EXPECT_TRUE(absl::StrContains(status.message(), "row 2, columns 32 to 63"))
        << status;
  };
  expect(QuantType::kQ4_0, 1, 0x7c, absl::StatusCode::kDataLoss);
  expect(QuantType::kQ8_0, 1, 0xfe, absl::StatusCode::kDataLoss);
  expect(QuantType::kMXFP4, 0, 0xff, absl::StatusCode::kDataLoss);
  // A minimum between the multiples of the scale.
  expect(QuantType::kQ4_1, 2, 0x55, absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace narrow
