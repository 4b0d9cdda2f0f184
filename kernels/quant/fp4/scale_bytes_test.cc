#include "kernels/quant/fp4/scale_bytes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

#include "formats/base/float16.h"

namespace narrow {
namespace fp4 {
namespace {

// What ggml computes, with the library's logarithm.
int LibraryFloor(float x) { return static_cast<int>(std::floor(std::log2(x))); }

TEST(ScaleBytesTest, LogarithmsRoundAsTheLibrarysDo) {
  // On both sides of every power of two, where the rounding shows.
  for (int k = -149; k <= 127; ++k) {
    const uint32_t power = FloatBits(std::ldexp(1.0f, k));
    for (int64_t steps = -100; steps <= 4; ++steps) {
      const int64_t bits = power + steps;
      if (bits > 0) {
        const float x = FloatFromBits(static_cast<uint32_t>(bits));
        ASSERT_EQ(FloorOfRoundedLog2(x), LibraryFloor(x)) << x;
      }
    }
  }
  for (uint32_t bits = 1; bits < 0x7f800000; bits += 9973) {
    const float x = FloatFromBits(bits);
    ASSERT_EQ(FloorOfRoundedLog2(x), LibraryFloor(x)) << x;
  }
  EXPECT_EQ(FloorOfRoundedLog2(FloatFromBits(0x7f7fffff)), 128);
}

TEST(ScaleBytesTest, E8M0MakesTheLargestMagnitudeFourToEight) {
  EXPECT_EQ(E8M0For(0.0f), 0);
  EXPECT_EQ(E8M0For(1.0f), 125);
  EXPECT_EQ(E8M0For(7.99f), 127);
  EXPECT_EQ(E8M0For(8.0f), 128);
  EXPECT_EQ(E8M0For(0x1p-125f), 0);
  // Below what the byte can say it wraps.
  EXPECT_EQ(E8M0For(0x1p-126f), 255);
  EXPECT_EQ(E8M0For(0x1p-149f), 232);
  EXPECT_EQ(E8M0For(INFINITY), 0);
}

TEST(ScaleBytesTest, E8M0IsAPowerOfTwo) {
  for (int byte = 0; byte < 255; ++byte) {
    EXPECT_EQ(HalfE8M0(static_cast<uint8_t>(byte)),
              std::ldexp(1.0f, byte - 128))
        << byte;
  }
  EXPECT_EQ(HalfE8M0(kE8M0NaN), 0x1p127f);
}

TEST(ScaleBytesTest, UE4M3ValuesRiseAndComeBack) {
  for (int byte = 0; byte < kUE4M3High; ++byte) {
    const float value = UE4M3Value(static_cast<uint8_t>(byte));
    EXPECT_LT(value, UE4M3Value(static_cast<uint8_t>(byte + 1))) << byte;
    // 256 … 416 all become 448.
    EXPECT_EQ(UE4M3Of(value), value < 256 ? byte : kUE4M3High) << byte;
  }
  EXPECT_EQ(UE4M3Value(1), 0x1p-9f);
  EXPECT_EQ(UE4M3Value(8), 0x1p-6f);
  EXPECT_EQ(UE4M3Value(kUE4M3High), 448.0f);
  EXPECT_EQ(UE4M3Value(kUE4M3NaN), 0.0f);
  EXPECT_EQ(UE4M3Value(0xff), 480.0f);
}

TEST(ScaleBytesTest, UE4M3IsTheNearestBelow248) {
  for (int byte = 0; UE4M3Value(static_cast<uint8_t>(byte + 1)) < 256; ++byte) {
    const float low = UE4M3Value(static_cast<uint8_t>(byte));
    const float high = UE4M3Value(static_cast<uint8_t>(byte + 1));
    const float middle = (low + high) / 2;  // exact
    const bool last_subnormal = byte == 7;
    // (The sum that rounds subnormal ones is itself rounded.)
    EXPECT_EQ(UE4M3Of(middle * (1 - 0x1p-20f)), byte) << byte;
    EXPECT_EQ(UE4M3Of(middle), last_subnormal ? byte : byte + 1) << byte;
  }
  EXPECT_EQ(UE4M3Of(247.9f), 0x77);
  EXPECT_EQ(UE4M3Of(248.0f), kUE4M3High);
  EXPECT_EQ(UE4M3Of(1e30f), kUE4M3High);
  EXPECT_EQ(UE4M3Of(INFINITY), kUE4M3High);
  EXPECT_EQ(UE4M3Of(NAN), 0);
  EXPECT_EQ(UE4M3Of(-1.0f), 0);
}

}  // namespace
}  // namespace fp4
}  // namespace narrow
