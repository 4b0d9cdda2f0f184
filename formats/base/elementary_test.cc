// Elementary functions against the C library's in long double.

#include "formats/base/elementary.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "gtest/gtest.h"

namespace narrow {
namespace {

// The difference in units of the last place of `got`.
double Units(double got, long double want) {
  int exponent;
  std::frexp(got, &exponent);
  return static_cast<double>(std::fabs(std::ldexp(want - got, 53 - exponent)));
}

TEST(ElementaryTest, ExpIsWithinAUnit) {
  std::mt19937_64 random(1);
  for (const double range : {1e-9, 0.5, 20.0, 700.0}) {
    std::uniform_real_distribution<double> uniform(-range, range);
    for (int i = 0; i < 100000; ++i) {
      const double x = uniform(random);
      ASSERT_LT(Units(Exp(x), std::exp(static_cast<long double>(x))), 1) << x;
    }
  }
  EXPECT_EQ(Exp(0), 1);
  EXPECT_EQ(Exp(-0.0), 1);
  EXPECT_EQ(Exp(-HUGE_VAL), 0);
  EXPECT_EQ(Exp(-708.5), 0);
  EXPECT_EQ(Exp(HUGE_VAL), HUGE_VAL);
  EXPECT_EQ(Exp(709.8), HUGE_VAL);
  EXPECT_TRUE(std::isfinite(Exp(709.78)));
  EXPECT_TRUE(std::isnan(Exp(NAN)));
}

// Half a unit is the nearest; long double's own error adds 2^-11.
TEST(ElementaryTest, LogIsTheNearest) {
  std::mt19937_64 random(2);
  std::uniform_real_distribution<double> exponent(-700, 700), near(0.5, 2);
  for (int i = 0; i < 50000; ++i) {
    for (const double x : {std::exp(exponent(random)), near(random)}) {
      ASSERT_LT(Units(Log(x), std::log(static_cast<long double>(x))), 0.502)
          << x;
    }
  }
  EXPECT_EQ(Log(1), 0);
  EXPECT_EQ(Log(0), -HUGE_VAL);
  EXPECT_EQ(Log(HUGE_VAL), HUGE_VAL);
  EXPECT_TRUE(std::isnan(Log(-1)));
  EXPECT_TRUE(std::isnan(Log(NAN)));
}

TEST(ElementaryTest, PowIsTheNearest) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> logarithm(-20, 20), exponent(-30, 30);
  for (int i = 0; i < 50000; ++i) {
    const double base = std::exp(logarithm(random)), y = exponent(random);
    // powl's error grows with the logarithm of the result: up to 600.
    ASSERT_LT(Units(Pow(base, y), std::pow(static_cast<long double>(base),
                                           static_cast<long double>(y))),
              0.51)
        << base << " ^ " << y;
  }
  EXPECT_EQ(Pow(10000, 0), 1);
  EXPECT_EQ(Pow(10000, -1), 1e-4);
  EXPECT_EQ(Pow(2, -3), 0.125);
  EXPECT_EQ(Pow(10, 400), HUGE_VAL);
  EXPECT_EQ(Pow(10, -400), 0);
  EXPECT_TRUE(std::isnan(Pow(-2, 2)));
  EXPECT_TRUE(std::isnan(Pow(2, NAN)));
}

TEST(ElementaryTest, SinesAndCosinesAreNear) {
  std::mt19937_64 random(4);
  for (const double range : {0.8, 10.0, 1e4, 1e6, 0x1p27}) {
    std::uniform_real_distribution<double> uniform(-range, range);
    for (int i = 0; i < 100000; ++i) {
      const double x = uniform(random);
      double s, c;
      SinCos(x, &s, &c);
      ASSERT_NEAR(s, static_cast<double>(std::sin(static_cast<long double>(x))),
                  0x1p-52)
          << x;
      ASSERT_NEAR(c, static_cast<double>(std::cos(static_cast<long double>(x))),
                  0x1p-52)
          << x;
    }
  }
  double s, c;
  SinCos(0, &s, &c);
  EXPECT_EQ(s, 0);
  EXPECT_EQ(c, 1);
  // The nearest double of pi / 2: what is left has all its bits.
  SinCos(M_PI_2, &s, &c);
  EXPECT_EQ(s, 1);
  EXPECT_DOUBLE_EQ(c, 6.123233995736766e-17);
  SinCos(1e9, &s, &c);
  EXPECT_TRUE(std::isnan(s) && std::isnan(c));
}

// Bits that no processor and no library may change.
TEST(ElementaryTest, BitsAreFixed) {
  uint64_t hash = 14695981039346656037u;
  const auto add = [&](double value) {
    uint64_t bits;
    __builtin_memcpy(&bits, &value, sizeof(bits));
    hash = (hash ^ bits) * 1099511628211u;
  };
  for (int i = 1; i < 20000; ++i) {
    const double x = i * 0.0173;
    double s, c;
    SinCos(x * 37, &s, &c);
    for (const double value : {Exp(x), Exp(-x), Log(x), Pow(x, 0.31), s, c}) {
      add(value);
    }
  }
  EXPECT_EQ(hash, 17342593988198175393u);
}

}  // namespace
}  // namespace narrow
