// Each instruction set's lanes against scalar code, over edge cases.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/cpu.h"
#include "kernels/simd/lanes_test_ops.h"

namespace narrow {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Every exponent and sign with several mantissas, halves and what lies
// beside them, infinities and NaN; a multiple of 16 numbers.
std::vector<float> EdgeCases() {
  std::vector<float> values = {0.0f,
                               -0.0f,
                               kInfinity,
                               -kInfinity,
                               kNan,
                               -kNan,
                               FloatFromBits(0x7f812345),
                               0x1p31f,
                               -0x1p31f,
                               2147483520.0f};
  for (int half = -40; half <= 40; ++half) {
    const float value = static_cast<float>(half) * 0.5f;
    values.insert(values.end(), {value, std::nextafter(value, kInfinity),
                                 std::nextafter(value, -kInfinity)});
  }
  for (uint32_t exponent = 0; exponent < 255; ++exponent) {
    for (const uint32_t mantissa : {0x0u, 0x1u, 0xfffu, 0x1000u, 0x1001u,
                                    0x3000u, 0x7fefffu, 0x7ff000u, 0x7fffffu}) {
      values.push_back(FloatFromBits(exponent << 23 | mantissa));
      values.push_back(-values.back());
    }
  }
  values.resize((values.size() + 15) / 16 * 16);
  return values;
}

bool SameBits(float a, float b) { return FloatBits(a) == FloatBits(b); }

class LanesTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > CpuIsa()) {
      GTEST_SKIP() << "not on this processor";
    }
    ops_ = GetParam() == Isa::kAvx512 ? avx512::TestedLaneOps()
                                      : avx2::TestedLaneOps();
  }

  // Calls body(first) for each group of lanes.
  template <typename Body>
  void ForGroups(size_t n, const Body& body) const {
    for (size_t first = 0; first < n; first += ops_.n_lanes) {
      body(first);
    }
  }

  LaneOps ops_;
  const std::vector<float> in_ = EdgeCases();
};

TEST_P(LanesTest, TruncatesAsScalarCode) {
  std::vector<int32_t> out(in_.size());
  ForGroups(in_.size(), [&](size_t i) { ops_.truncate(&in_[i], &out[i]); });
  for (size_t i = 0; i < in_.size(); ++i) {
    const bool fits = in_[i] >= -0x1p31f && in_[i] < 0x1p31f;
    EXPECT_EQ(out[i], fits ? static_cast<int32_t>(in_[i]) : INT32_MIN)
        << in_[i];
  }
}

TEST_P(LanesTest, RoundsTiesToEven) {
  std::vector<int32_t> ints(in_.size());
  std::vector<float> floats(in_.size());
  ForGroups(in_.size(), [&](size_t i) {
    ops_.round_to_int(&in_[i], &ints[i]);
    ops_.round_to_float(&in_[i], &floats[i]);
  });
  for (size_t i = 0; i < in_.size(); ++i) {
    if (std::fabs(in_[i]) <= 4194303.0f) {
      EXPECT_EQ(ints[i], std::lrint(in_[i])) << in_[i];
      EXPECT_EQ(floats[i], std::nearbyint(in_[i])) << in_[i];
    } else {
      // Beyond, the bits that scalar code would show.
      const uint32_t bits = FloatBits(in_[i] + 12582912.0f);
      EXPECT_EQ(ints[i], static_cast<int32_t>(bits & 0x7fffff) - 0x400000)
          << in_[i];
    }
  }
}

TEST_P(LanesTest, HalvesAreThoseOfFloat16) {
  std::vector<int32_t> halves(in_.size());
  ForGroups(in_.size(),
            [&](size_t i) { ops_.f16_from_float(&in_[i], &halves[i]); });
  for (size_t i = 0; i < in_.size(); ++i) {
    EXPECT_EQ(halves[i], F16FromFloat(in_[i])) << in_[i];
  }
  std::vector<int32_t> all(0x10000);
  std::vector<float> floats(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    all[i] = static_cast<int32_t>(i);
  }
  ForGroups(all.size(),
            [&](size_t i) { ops_.float_from_f16(&all[i], &floats[i]); });
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_TRUE(SameBits(floats[i], FloatFromF16(static_cast<uint16_t>(i))))
        << i;
  }
}

TEST_P(LanesTest, SquareRootsAreRoundedCorrectly) {
  std::vector<float> out(in_.size());
  ForGroups(in_.size(), [&](size_t i) { ops_.sqrt(&in_[i], &out[i]); });
  for (size_t i = 0; i < in_.size(); ++i) {
    if (in_[i] >= 0) {
      EXPECT_TRUE(SameBits(out[i], std::sqrt(in_[i]))) << in_[i];
    }
  }
}

TEST_P(LanesTest, MinimumAndMaximumTakeTheSecondOnNan) {
  std::vector<float> reversed(in_.rbegin(), in_.rend());
  std::rotate(reversed.begin(), reversed.begin() + 3, reversed.end());
  std::vector<float> low(in_.size());
  std::vector<float> high(in_.size());
  ForGroups(in_.size(), [&](size_t i) {
    ops_.minimum(&in_[i], &reversed[i], &low[i]);
    ops_.maximum(&in_[i], &reversed[i], &high[i]);
  });
  for (size_t i = 0; i < in_.size(); ++i) {
    const float a = in_[i];
    const float b = reversed[i];
    EXPECT_TRUE(SameBits(low[i], a < b ? a : b)) << a << ", " << b;
    EXPECT_TRUE(SameBits(high[i], a > b ? a : b)) << a << ", " << b;
  }
}

TEST_P(LanesTest, BytesKeepTheirValue) {
  std::vector<uint8_t> bytes(256);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(i);
  }
  std::vector<uint8_t> copies(256);
  std::vector<int32_t> numbers(256);
  ForGroups(bytes.size(), [&](size_t i) {
    ops_.round_trip_bytes(&bytes[i], &copies[i]);
    ops_.signed_bytes(&bytes[i], &numbers[i]);
  });
  EXPECT_EQ(copies, bytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_EQ(numbers[i], static_cast<int8_t>(bytes[i]));
  }
}

TEST_P(LanesTest, AnySeesEveryLane) {
  std::vector<int32_t> mask(ops_.n_lanes, 0);
  EXPECT_FALSE(ops_.any(mask.data()));
  EXPECT_EQ(ops_.lane_bits(mask.data()), 0u);
  for (int k = 0; k < ops_.n_lanes; ++k) {
    mask[k] = -1;
    EXPECT_TRUE(ops_.any(mask.data()));
    EXPECT_EQ(ops_.lane_bits(mask.data()), 1u << k);
    mask[k] = 0;
  }
}

TEST_P(LanesTest, LookupTakesTheLowBitsOfAnIndex) {
  std::vector<float> table(ops_.n_lanes);
  for (int k = 0; k < ops_.n_lanes; ++k) {
    table[k] = 100.0f + static_cast<float>(k % 8);
  }
  std::vector<int32_t> index(2 * ops_.n_lanes);
  std::vector<float> found(index.size());
  for (size_t i = 0; i < index.size(); ++i) {
    index[i] = static_cast<int32_t>(i * 0x01234567u);
  }
  ForGroups(index.size(), [&](size_t i) {
    ops_.lookup8(table.data(), &index[i], &found[i]);
  });
  for (size_t i = 0; i < index.size(); ++i) {
    EXPECT_EQ(found[i], 100.0f + static_cast<float>(index[i] & 7)) << i;
  }
}

TEST_P(LanesTest, BlocksGoInAndOutForAnyNumberOfThem) {
  constexpr ptrdiff_t kInStride = kTestSize + 3;
  constexpr ptrdiff_t kOutStride = 4 * kTestSize + 2;
  for (int n_blocks = 1; n_blocks <= ops_.n_lanes; ++n_blocks) {
    // Just as long as the blocks: reading on would show under a sanitizer.
    std::vector<float> in((n_blocks - 1) * kInStride + kTestSize);
    for (size_t i = 0; i < in.size(); ++i) {
      in[i] = static_cast<float>(i);
    }
    std::vector<uint8_t> out(kTestBlocks * kOutStride, 0xa5);
    ops_.copy_blocks(in.data(), kInStride, n_blocks, out.data(), kOutStride);
    for (int b = 0; b < kTestBlocks; ++b) {
      const uint8_t* block = &out[b * kOutStride];
      for (int i = 0; b < n_blocks && i < kTestSize; ++i) {
        float value;
        std::memcpy(&value, block + 4 * i, 4);
        EXPECT_EQ(value, in[b * kInStride + i]);
      }
      const int n_written = b < n_blocks ? 4 * kTestSize : 0;
      EXPECT_EQ(std::count(block + n_written, block + kOutStride, 0xa5),
                kOutStride - n_written);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, LanesTest,
                         testing::Values(Isa::kAvx2, Isa::kAvx512),
                         [](const testing::TestParamInfo<Isa>& info) {
                           return std::string(IsaName(info.param));
                         });

}  // namespace
}  // namespace narrow
