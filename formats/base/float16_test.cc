#include "formats/base/float16.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace narrow {
namespace {

TEST(Float16Test, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = FloatFromF16(static_cast<uint16_t>(half));
    if (std::isnan(value)) {
      EXPECT_EQ(F16FromFloat(value), (half & 0x8000) | 0x7e00);
    } else {
      EXPECT_EQ(F16FromFloat(value), half);
    }
  }
}

TEST(Float16Test, RoundsToNearestEvenBetweenNeighbours) {
  for (uint32_t half = 0; half < 0x7bff; ++half) {
    const float low = FloatFromF16(static_cast<uint16_t>(half));
    const float high = FloatFromF16(static_cast<uint16_t>(half + 1));
    const float middle = low + (high - low) / 2;
    EXPECT_EQ(F16FromFloat(middle), half + (half & 1)) << half;
    EXPECT_EQ(F16FromFloat(std::nextafter(middle, low)), half) << half;
    EXPECT_EQ(F16FromFloat(std::nextafter(middle, high)), half + 1) << half;
  }
}

TEST(Float16Test, LargeValuesBecomeInfinity) {
  EXPECT_EQ(F16FromFloat(65519.99f), 0x7bff);
  EXPECT_EQ(F16FromFloat(65520.0f), 0x7c00);
  EXPECT_EQ(F16FromFloat(-1e30f), 0xfc00);
}

TEST(Bf16Test, EveryValueSurvivesAndNanStaysNan) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = FloatFromBf16(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_EQ(Bf16FromFloat(value), bits | 0x40);
    } else {
      EXPECT_EQ(Bf16FromFloat(value), bits);
    }
  }
  // A signalling NaN whose payload lies in the dropped bits alone.
  EXPECT_EQ(Bf16FromFloat(FloatFromBits(0x7f800001)), 0x7fc0);
}

TEST(Bf16Test, RoundsTiesToEven) {
  EXPECT_EQ(Bf16FromFloat(FloatFromBits(0x3f808000)), 0x3f80);
  EXPECT_EQ(Bf16FromFloat(FloatFromBits(0x3f818000)), 0x3f82);
  EXPECT_EQ(Bf16FromFloat(FloatFromBits(0x3f808001)), 0x3f81);
}

}  // namespace
}  // namespace narrow
