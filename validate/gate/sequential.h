// When to look at a text that is being measured, and what error rate a look
// may use, so that stopping early keeps the stated rate.
//
//   for (const Look& look : PlanLooks(n_windows, early_stop)) {
//     ... measure windows up to look.n_windows; bounds at share * rate ...
//   }
//
// Who looks again and again, and stops when the answer suits, errs more often
// than each look does. Here the looks are fixed before the first one, and
// share the rate: what may have been spent when a share t of the text has been
// measured is rate * ln(1 + (e - 1) t) (K. Lan, D. DeMets, Discrete Sequential
// Boundaries for Clinical Trials, Biometrika 70, 1983, 659-663, their second
// function, near Pocock's boundaries), and each look has what is new since the
// one before. The sum over the looks is the rate, so by the union bound the
// chance that any of them errs is at most that: whatever the dependence
// between looks, and as good as the bounds of one look are. Boundaries that
// use the dependence would be somewhat tighter, and lean on normality at
// rates where windows are few.
//
// Pure functions.

#ifndef NARROW_VALIDATE_GATE_SEQUENTIAL_H_
#define NARROW_VALIDATE_GATE_SEQUENTIAL_H_

#include <cstdint>
#include <vector>

namespace narrow {

struct Look {
  int64_t n_windows = 0;  // measured by then, counted from the first
  // Of the stated error rate, what this look may use: a share, 1 in all.
  double share = 0;
};

// With `early_stop` after 16 windows, then 1.5 times as many as at the look
// before, and at the end; without, at the end alone. REQUIRES: n_windows > 0.
std::vector<Look> PlanLooks(int64_t n_windows, bool early_stop);

}  // namespace narrow

#endif  // NARROW_VALIDATE_GATE_SEQUENTIAL_H_
