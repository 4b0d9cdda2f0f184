#include "formats/packing/quantized_matrix.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

WeightScheme Scheme(CodeKind code, int bits, ZeroKind zero, int64_t rows,
                    int64_t cols) {
  WeightScheme scheme;
  scheme.code = code;
  scheme.bits = bits;
  scheme.zero = zero;
  scheme.block_rows = rows;
  scheme.block_cols = cols;
  return scheme;
}

std::vector<WeightScheme> Schemes() {
  std::vector<WeightScheme> all = {
      Scheme(CodeKind::kInteger, 4, ZeroKind::kNone, 1, 16),
      Scheme(CodeKind::kInteger, 3, ZeroKind::kInteger, 1, 20),
      Scheme(CodeKind::kInteger, 8, ZeroKind::kNone, 1, 0),
      Scheme(CodeKind::kInteger, 8, ZeroKind::kNone, 0, 0),
      Scheme(CodeKind::kE4M3, 8, ZeroKind::kNone, 4, 16),
      Scheme(CodeKind::kE2M1, 4, ZeroKind::kNone, 1, 16),
      Scheme(CodeKind::kNf4, 4, ZeroKind::kNone, 1, 64),
      Scheme(CodeKind::kFp4, 4, ZeroKind::kNone, 1, 64),
      Scheme(CodeKind::kInteger, 2, ZeroKind::kFloat, 1, 7),
      Scheme(CodeKind::kInteger, 4, ZeroKind::kInteger, 1, 16),
  };
  all[2].scale_unit = 1.0f / 127.0f;
  all[5].global_scale = true;
  all[6].flat = true;
  all[7].flat = true;
  all[8].flat = true;
  all[9].column_groups = true;
  return all;
}

QuantizedMatrix Filled(const WeightScheme& scheme, int64_t n_rows,
                       int64_t n_cols) {
  QuantizedMatrix m;
  m.scheme = scheme;
  m.Resize(n_rows, n_cols);
  uint32_t state = 12345;
  const auto next = [&state] {
    state = state * 1664525u + 1013904223u;
    return state >> 16;
  };
  for (uint8_t& code : m.codes) {
    code =
        static_cast<uint8_t>(next() % static_cast<uint32_t>(scheme.n_codes()));
    if (scheme.code == CodeKind::kE4M3 && (code & 0x7f) == 0x7f) {
      code = 0;
    }
  }
  for (float& scale : m.scales) {
    scale = static_cast<float>(1 + next() % 512) / 1024.0f;
  }
  for (float& zero : m.zeros) {
    zero = static_cast<float>(next() % static_cast<uint32_t>(scheme.n_codes()));
    if (scheme.zero == ZeroKind::kFloat) {
      zero += 0.25f;
    }
  }
  for (int32_t& group : m.group_of_column) {
    group =
        static_cast<int32_t>(next() % static_cast<uint32_t>(m.n_scale_cols()));
  }
  if (scheme.global_scale) {
    m.global_scale = 3;
  }
  return m;
}

// The formula of the header, one weight at a time.
float Weight(const QuantizedMatrix& m, int64_t row, int64_t col) {
  const size_t at = static_cast<size_t>(m.ScaleIndex(row, col));
  const uint8_t code = m.codes[static_cast<size_t>(row * m.n_cols + col)];
  const float scale = m.scales[at] * m.scheme.scale_unit;
  if (m.scheme.code == CodeKind::kInteger) {
    const float zero = m.zeros.empty()
                           ? static_cast<float>(m.scheme.n_codes() / 2)
                           : m.zeros[at];
    return (static_cast<float>(code) - zero) * scale;
  }
  return CodeTable(m.scheme.code)[code] * (scale / m.global_scale);
}

TEST(QuantizedMatrix, DecodesEveryRangeByTheFormula) {
  for (const WeightScheme& scheme : Schemes()) {
    const QuantizedMatrix m = Filled(scheme, 11, 40);
    ASSERT_TRUE(CheckQuantizedMatrix(m).ok())
        << SchemeName(scheme) << CheckQuantizedMatrix(m);
    for (int64_t first = 0; first < m.n_rows; first += 3) {
      const int64_t n = std::min<int64_t>(4, m.n_rows - first);
      std::vector<float> out(static_cast<size_t>(n * m.n_cols));
      DequantizeRows(m, first, n, out.data());
      for (int64_t i = 0; i < n * m.n_cols; ++i) {
        ASSERT_EQ(out[static_cast<size_t>(i)],
                  Weight(m, first + i / m.n_cols, i % m.n_cols))
            << SchemeName(scheme) << " at " << i;
      }
    }
  }
}

TEST(QuantizedMatrix, ScalesAreWhereBlocksAre) {
  WeightScheme scheme = Scheme(CodeKind::kE4M3, 8, ZeroKind::kNone, 128, 128);
  EXPECT_EQ(NumScaleRows(scheme, 130), 2);
  EXPECT_EQ(NumScaleCols(scheme, 130, 256), 2);
  QuantizedMatrix m = Filled(scheme, 130, 256);
  EXPECT_EQ(m.ScaleIndex(127, 127), 0);
  EXPECT_EQ(m.ScaleIndex(128, 127), 2);
  EXPECT_EQ(m.ScaleIndex(129, 255), 3);
  scheme = Scheme(CodeKind::kNf4, 4, ZeroKind::kNone, 1, 64);
  scheme.flat = true;
  m = Filled(scheme, 3, 50);  // 150 weights: 64 + 64 + 22
  EXPECT_EQ(m.n_scale_rows() * m.n_scale_cols(), 3);
  EXPECT_EQ(m.ScaleIndex(1, 13), 0);
  EXPECT_EQ(m.ScaleIndex(1, 14), 1);
  EXPECT_EQ(m.ScaleIndex(2, 49), 2);
}

// bitsandbytes 0.50.2: quantize_4bit of 64 values from -1 to 1 takes each
// code in ascending order of its value; MX specification for E2M1.
TEST(QuantizedMatrix, TablesHaveTheirEnds) {
  EXPECT_EQ(CodeTable(CodeKind::kNf4)[0], -1.0f);
  EXPECT_EQ(CodeTable(CodeKind::kNf4)[7], 0.0f);
  EXPECT_EQ(CodeTable(CodeKind::kNf4)[15], 1.0f);
  EXPECT_EQ(CodeTable(CodeKind::kFp4)[3], 1.0f);
  EXPECT_EQ(CodeTable(CodeKind::kFp4)[11], -1.0f);
  EXPECT_EQ(CodeTable(CodeKind::kFp4)[1], 0.0625f / 12.0f);
  EXPECT_EQ(CodeTable(CodeKind::kE2M1)[7], 6.0f);
  EXPECT_EQ(CodeTable(CodeKind::kE2M1)[15], -6.0f);
  EXPECT_EQ(CodeTable(CodeKind::kE4M3)[0x7e], 448.0f);
  EXPECT_EQ(CodeTable(CodeKind::kInteger)[255], 255.0f);
}

TEST(QuantizedMatrix, NamesSchemes) {
  EXPECT_EQ(
      SchemeName(Scheme(CodeKind::kInteger, 4, ZeroKind::kInteger, 1, 128)),
      "int4 g128 asymmetric");
  EXPECT_EQ(SchemeName(Scheme(CodeKind::kE4M3, 8, ZeroKind::kNone, 128, 128)),
            "fp8 128x128");
  EXPECT_EQ(SchemeName(Scheme(CodeKind::kInteger, 8, ZeroKind::kNone, 1, 0)),
            "int8 by row");
}

TEST(QuantizedMatrix, RefusesWhatNoFileHolds) {
  const WeightScheme scheme =
      Scheme(CodeKind::kInteger, 4, ZeroKind::kInteger, 1, 16);
  struct Case {
    const char* words;
    std::function<void(QuantizedMatrix*)> damage;
  };
  const std::vector<Case> cases = {
      {"codes, its scheme wants 64", [](auto* m) { m->codes.pop_back(); }},
      {"scales, its scheme wants 4", [](auto* m) { m->scales.push_back(1); }},
      {"zero points, its scheme wants 4", [](auto* m) { m->zeros.clear(); }},
      {"code 16 at [1, 3] is above 15", [](auto* m) { m->codes[35] = 16; }},
      {"scale at [1, 0] is not finite",
       [](auto* m) { m->scales[2] = std::numeric_limits<float>::infinity(); }},
      {"is no value of f16", [](auto* m) { m->scales[0] = 0.1f; }},
      {"zero point 1.5 at [0, 1] is no integer",
       [](auto* m) { m->zeros[1] = 1.5f; }},
      {"zero point 16", [](auto* m) { m->zeros[1] = 16; }},
      {"global scale is 2", [](auto* m) { m->global_scale = 2; }},
      {"scale of the inputs is 0", [](auto* m) { m->input_scale = 0.0f; }},
  };
  for (const Case& c : cases) {
    QuantizedMatrix m = Filled(scheme, 2, 32);
    ASSERT_TRUE(CheckQuantizedMatrix(m).ok());
    c.damage(&m);
    const absl::Status status = CheckQuantizedMatrix(m);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.words;
    EXPECT_TRUE(absl::StrContains(status.message(), c.words)) << status;
  }
}

}  // namespace
}  // namespace narrow
