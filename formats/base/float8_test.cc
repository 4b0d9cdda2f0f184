#include "formats/base/float8.h"

#include <cmath>

#include "gtest/gtest.h"

namespace narrow {
namespace {

// The definition, by the formula of the format.
double E4M3ByFormula(int byte) {
  const int exponent = (byte >> 3) & 15;
  const double m = (byte & 7) / 8.0;
  const double magnitude =
      exponent == 0 ? std::ldexp(m, -6) : std::ldexp(1 + m, exponent - 7);
  return byte & 0x80 ? -magnitude : magnitude;
}

TEST(E4M3, EveryByteIsItsFormulaAndComesBack) {
  for (int byte = 0; byte < 256; ++byte) {
    const float value = FloatFromE4M3(static_cast<uint8_t>(byte));
    if ((byte & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value)) << byte;
      continue;
    }
    EXPECT_EQ(value, E4M3ByFormula(byte)) << byte;
    EXPECT_EQ(E4M3FromFloat(value), byte);
  }
}

TEST(E4M3, RoundsToNearestEven) {
  for (int byte = 0; byte < 0x7e; ++byte) {
    const double low = E4M3ByFormula(byte);
    const double high = E4M3ByFormula(byte + 1);
    const float middle = static_cast<float>((low + high) / 2);
    EXPECT_EQ(E4M3FromFloat(middle), byte + byte % 2) << byte;
    EXPECT_EQ(E4M3FromFloat(std::nextafter(middle, 0.0f)), byte);
    EXPECT_EQ(E4M3FromFloat(std::nextafter(middle, 1e9f)), byte + 1);
    EXPECT_EQ(E4M3FromFloat(-middle), 0x80 | (byte + byte % 2));
  }
}

TEST(E4M3, SaturatesAndKeepsNaN) {
  EXPECT_EQ(E4M3FromFloat(1e30f), 0x7e);
  EXPECT_EQ(E4M3FromFloat(-INFINITY), 0xfe);
  EXPECT_EQ(E4M3FromFloat(NAN) & 0x7f, 0x7f);
}

TEST(E8M0, EveryByteComesBack) {
  for (int byte = 0; byte < 255; ++byte) {
    const float value = FloatFromE8M0(static_cast<uint8_t>(byte));
    EXPECT_EQ(value, std::ldexp(1.0, byte - 127)) << byte;
    EXPECT_EQ(E8M0FromFloat(value), byte);
  }
  EXPECT_TRUE(std::isnan(FloatFromE8M0(255)));
  EXPECT_EQ(E8M0FromFloat(0), kNaNE8M0);
  EXPECT_EQ(E8M0FromFloat(-1), kNaNE8M0);
  EXPECT_EQ(E8M0FromFloat(INFINITY), kNaNE8M0);
  EXPECT_EQ(E8M0FromFloat(1.4f), 127);
  EXPECT_EQ(E8M0FromFloat(1.5f), 128);
}

}  // namespace
}  // namespace narrow
