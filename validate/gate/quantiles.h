// Quantiles of the distributions that bounds are made with.
//
//   StudentQuantile(0.95, 19);      // 1.729
//   BetaQuantile(0.95, 3, 20);
//
// By Newton's method for the regularised incomplete beta function, which is a
// continued fraction (W. Press and others, Numerical Recipes, section 6.4);
// relative error below 1e-10. Pure functions.

#ifndef NARROW_VALIDATE_GATE_QUANTILES_H_
#define NARROW_VALIDATE_GATE_QUANTILES_H_

namespace narrow {

// P(X <= x) for X of the beta distribution. REQUIRES: a, b > 0.
double BetaProbability(double x, double a, double b);
// The x for which BetaProbability is `share`. REQUIRES: 0 < share < 1.
double BetaQuantile(double share, double a, double b);
// Of Student's t with `freedom` > 0 degrees.
double StudentQuantile(double share, double freedom);

}  // namespace narrow

#endif  // NARROW_VALIDATE_GATE_QUANTILES_H_
