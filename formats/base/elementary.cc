// Exp, SinCos: an exact or nearly exact reduction of the argument and a Taylor
// polynomial that is shorter than a rounding (Muller, "Elementary Functions",
// 3rd edition, chapters 3 and 11). Log, Pow: the same in pairs of doubles
// (Dekker, "A floating-point technique for extending the available precision",
// 1971), so that hardly any result is not the nearest. Compiled without
// contraction (.bazelrc). Tested by elementary_test.

#include "formats/base/elementary.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include "formats/base/elementary_exp.h"

namespace narrow {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kLog2E = 0x1.71547652b82fep+0;
constexpr double kMaxExp = 709.782712893384;
constexpr double kMinExp = -708.0;

// To nearest for |x| < 2^51: the integer is what 1.5 * 2^52 leaves room for.
double Round(double x) { return (x + 0x1.8p+52) - 0x1.8p+52; }

// hi + lo, |lo| at most half a unit of hi.
struct Pair {
  double hi, lo;
};

Pair TwoSum(double a, double b) {
  const double sum = a + b;
  const double part = sum - a;
  return {sum, (a - (sum - part)) + (b - part)};
}

// Halves of 26 bits multiply exactly.
Pair Split(double a) {
  const double big = a * 134217729.0;  // 2^27 + 1
  const double hi = big - (big - a);
  return {hi, a - hi};
}

Pair TwoProduct(double a, double b) {
  const double product = a * b;
  const Pair x = Split(a), y = Split(b);
  return {product,
          ((x.hi * y.hi - product) + x.hi * y.lo + x.lo * y.hi) + x.lo * y.lo};
}

Pair Add(Pair a, Pair b) {
  const Pair hi = TwoSum(a.hi, b.hi);
  return TwoSum(hi.hi, hi.lo + (a.lo + b.lo));
}

Pair Multiply(Pair a, Pair b) {
  const Pair p = TwoProduct(a.hi, b.hi);
  return TwoSum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

Pair Divide(Pair a, double b) {
  const double quotient = a.hi / b;
  const Pair back = TwoProduct(quotient, b);
  return TwoSum(quotient, (((a.hi - back.hi) - back.lo) + a.lo) / b);
}

// e^x as a pair times 2^exponent, for |x| < 1000.
Pair ExpPair(Pair x, int* exponent) {
  constexpr Pair kLn2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};
  const double k = Round(x.hi * kLog2E);
  *exponent = static_cast<int>(k);
  const Pair r = Add(x, Multiply({-k, 0}, kLn2));
  // sum of r^i / i!, by Horner; the term of 28 is below 2^-130.
  Pair sum = {1, 0};
  for (int i = 27; i >= 1; --i) {
    sum = Add({1, 0}, Divide(Multiply(sum, r), i));
  }
  return sum;
}

// The logarithm of a positive finite number: a guess y good to some 2^-50
// from the series of artanh, then log(x) = y + log(x e^-y).
Pair LogPair(double x) {
  int exponent;
  double m = std::frexp(x, &exponent);
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1), square = s * s;
  double series = 0;
  for (int i = 27; i >= 1; i -= 2) {
    series = series * square + 1.0 / i;
  }
  const double guess = exponent * 0x1.62e42fefa39efp-1 + 2 * s * series;
  int shift;
  const Pair e = ExpPair({-guess, 0}, &shift);
  Pair ratio = Multiply(e, {std::ldexp(m, shift + exponent), 0});
  ratio = Add(ratio, {-1, 0});
  const double rest = ratio.hi - 0.5 * ratio.hi * ratio.hi;
  return Add({guess, 0}, {rest, ratio.lo});
}

}  // namespace

double Exp(double x) { return ElementaryExp(x); }

double Log(double x) {
  if (!(x > 0)) {
    return x == 0 ? -kInfinity : kNan;
  }
  if (x == kInfinity) {
    return x;
  }
  const Pair log = LogPair(x);
  return log.hi + log.lo;
}

double Pow(double base, double exponent) {
  if (!(base > 0) || base == kInfinity || !std::isfinite(exponent)) {
    return kNan;
  }
  const Pair log = LogPair(base);
  const double about = log.hi * exponent;
  if (!(about >= kMinExp) || about > kMaxExp) {
    return about > 0 ? kInfinity : 0;
  }
  int shift;
  const Pair power = ExpPair(Multiply(log, {exponent, 0}), &shift);
  return std::ldexp(power.hi + power.lo, shift);
}

void SinCos(double x, double* sine, double* cosine) {
  if (!(std::fabs(x) <= 0x1p27)) {
    *sine = *cosine = kNan;
    return;
  }
  // pi / 2 in parts of 26 bits, whose products with n are exact.
  constexpr double kHalfPi[] = {0x1.921fb50000000p+0, 0x1.110b460000000p-26,
                                0x1.1a62620000000p-54, 0x1.3145c00000000p-78,
                                0x1.b839a20000000p-104};
  const double n = Round(x * 0x1.45f306dc9c883p-1);
  Pair r = {x, 0};
  for (const double part : kHalfPi) {
    r = Add(r, {-(n * part), 0});
  }
  // |r| <= 0.79: r^19 / 19! and r^18 / 18! are below 2^-58.
  const double square = r.hi * r.hi;
  constexpr double kSineTerms[] = {1 / 355687428096000.0,
                                   -1 / 1307674368000.0,
                                   1 / 6227020800.0,
                                   -1 / 39916800.0,
                                   1 / 362880.0,
                                   -1 / 5040.0,
                                   1 / 120.0,
                                   -1 / 6.0};
  constexpr double kCosineTerms[] = {
      1 / 20922789888000.0, -1 / 87178291200.0, 1 / 479001600.0, -1 / 3628800.0,
      1 / 40320.0,          -1 / 720.0,         1 / 24.0};
  double s = 0, c = 0;
  for (const double term : kSineTerms) {
    s = s * square + term;
  }
  for (const double term : kCosineTerms) {
    c = c * square + term;
  }
  const double sin_r = r.hi + (r.hi * square * s + r.lo * (1 - 0.5 * square));
  const double half = 0.5 * square, one = 1 - half;
  const double cos_r =
      one + (((1 - one) - half) + (square * square * c - r.hi * r.lo));
  switch (static_cast<int64_t>(n) & 3) {
    case 0:
      *sine = sin_r, *cosine = cos_r;
      break;
    case 1:
      *sine = cos_r, *cosine = -sin_r;
      break;
    case 2:
      *sine = -sin_r, *cosine = -cos_r;
      break;
    default:
      *sine = -cos_r, *cosine = sin_r;
  }
}

}  // namespace narrow
