// Elementary functions whose bits are the same on every processor and with
// every C library.
//
//   weight = Exp(logit - top);
//   SinCos(angle, &sine, &cosine);
//
// The C library's own use fused multiply-adds where the processor has them
// and then differ in the last bit of a few results in a hundred. These are
// made of + - * / on doubles alone. Safe from any thread.

#ifndef NARROW_FORMATS_BASE_ELEMENTARY_H_
#define NARROW_FORMATS_BASE_ELEMENTARY_H_

namespace narrow {

// e^x within 1 unit in the last place; 0 below -708, where e^x is subnormal
// or nearly so, and infinity above 709.78.
double Exp(double x);

// The natural logarithm and base^exponent, rounded correctly but for ties
// closer than 2^-40 of a unit. Log: -infinity of 0, NaN below. Pow: NaN unless
// base > 0; 0 and infinity as Exp.
double Log(double x);
double Pow(double base, double exponent);

// Within 1 unit in the last place of 1, for |x| <= 2^27; NaN beyond.
void SinCos(double x, double* sine, double* cosine);

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_ELEMENTARY_H_
