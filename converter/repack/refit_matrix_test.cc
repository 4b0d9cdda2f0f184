#include "converter/repack/refit_matrix.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "formats/packing/scale_type.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

QuantizedMatrix Matrix(int bits, ZeroKind zero, int64_t group, QuantType type) {
  QuantizedMatrix m;
  m.scheme.bits = bits;
  m.scheme.zero = zero;
  m.scheme.block_cols = group;
  m.scheme.scale_type = type;
  m.Resize(64, 128);
  uint32_t state = 7;
  const auto next = [&state](int n) {
    state = state * 1664525u + 1013904223u;
    return static_cast<int>(state >> 16) % n;
  };
  for (uint8_t& code : m.codes) {
    code = static_cast<uint8_t>(next(m.scheme.n_codes()));
  }
  for (float& scale : m.scales) {
    // Of 7 bits, which f16 and bf16 both hold.
    scale = static_cast<float>(64 + next(64)) / 4096.0f;
  }
  for (float& value : m.zeros) {
    value = static_cast<float>(1 + next(m.scheme.n_codes() - 1));
  }
  return m;
}

std::vector<float> Values(const QuantizedMatrix& m) {
  std::vector<float> values(static_cast<size_t>(m.n_rows * m.n_cols));
  DequantizeRows(m, 0, m.n_rows, values.data());
  return values;
}

// Every packing's matrices to every packing: refused in words, or the same
// weights when they are packed.
TEST(Refit, BetweenAllPackings) {
  int n_done = 0;
  for (const Packing* to : AllPackings()) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const ZeroKind zero :
           {ZeroKind::kNone, ZeroKind::kInteger, ZeroKind::kFloat}) {
        for (const int64_t group : {0, 32, 64, 128}) {
          for (const QuantType type : {QuantType::kF16, QuantType::kBF16}) {
            const QuantizedMatrix m = Matrix(bits, zero, group, type);
            const auto scheme = RefitScheme(m.scheme, m.n_rows, m.n_cols, *to);
            if (!scheme.ok()) {
              EXPECT_FALSE(scheme.status().message().empty());
              continue;
            }
            const auto same = RefitMatrix(m, *scheme);
            ASSERT_TRUE(same.ok())
                << to->name << SchemeName(m.scheme) << same.status();
            EXPECT_EQ(Values(*same), Values(m));
            EXPECT_TRUE(to->pack(*same, QuantType::kBF16).ok());
            ++n_done;
          }
        }
      }
    }
  }
  EXPECT_GT(n_done, 200);
}

TEST(Refit, TakesFourBitsFromAwqToGptqAndBack) {
  const QuantizedMatrix m = Matrix(4, ZeroKind::kInteger, 64, QuantType::kF16);
  for (const char* name : {"gptq", "gptq_v2", "awq", "compressed-tensors"}) {
    const auto scheme =
        RefitScheme(m.scheme, m.n_rows, m.n_cols, *FindPacking(name));
    ASSERT_TRUE(scheme.ok()) << name << scheme.status();
    EXPECT_EQ(*scheme, m.scheme) << name;
  }
}

TEST(Refit, RefusesScalesThatTheOtherTypeRounds) {
  QuantizedMatrix m = Matrix(4, ZeroKind::kNone, 64, QuantType::kBF16);
  m.scales[5] = 0x1p-30f;  // below what f16 has
  const auto scheme =
      RefitScheme(m.scheme, m.n_rows, m.n_cols, *FindPacking("gptq"));
  ASSERT_TRUE(scheme.ok()) << scheme.status();
  EXPECT_EQ(scheme->scale_type, QuantType::kF16);
  const auto same = RefitMatrix(m, *scheme);
  EXPECT_EQ(same.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(same.status().message(),
                                "at [2, 1] is no value of f16"))
      << same.status();
}

TEST(Refit, RefusesZerosBetweenIntegers) {
  QuantizedMatrix m = Matrix(4, ZeroKind::kFloat, 64, QuantType::kF16);
  const auto scheme =
      RefitScheme(m.scheme, m.n_rows, m.n_cols, *FindPacking("awq"));
  ASSERT_TRUE(scheme.ok()) << scheme.status();
  EXPECT_TRUE(RefitMatrix(m, *scheme).ok());
  m.zeros[0] = 3.5f;
  EXPECT_EQ(RefitMatrix(m, *scheme).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Refit, RefusesWhatAFormatHasNot) {
  QuantizedMatrix m = Matrix(3, ZeroKind::kNone, 64, QuantType::kF16);
  EXPECT_FALSE(
      RefitScheme(m.scheme, m.n_rows, m.n_cols, *FindPacking("awq")).ok());
  m.scheme.bits = 4;
  m.scheme.column_groups = true;
  EXPECT_FALSE(
      RefitScheme(m.scheme, m.n_rows, m.n_cols, *FindPacking("awq")).ok());
  m.scheme.column_groups = false;
  m.scheme.activations = ActivationKind::kDynamicInt8;
  EXPECT_FALSE(
      RefitScheme(m.scheme, m.n_rows, m.n_cols, *FindPacking("gptq")).ok());
}

}  // namespace
}  // namespace narrow
