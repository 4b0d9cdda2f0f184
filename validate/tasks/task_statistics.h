// Intervals and tests of shares of right answers.
//
// Pure functions.

#ifndef NARROW_VALIDATE_TASKS_TASK_STATISTICS_H_
#define NARROW_VALIDATE_TASKS_TASK_STATISTICS_H_

#include <cstdint>

namespace narrow {

struct Interval {
  double low = 0;
  double high = 0;
};

// The interval of a share of `n_hits` in `n` whose ends the data reject at
// `z` standard errors (E. B. Wilson, "Probable Inference, the Law of
// Succession, and Statistical Inference", JASA 1927); 1.96 for 95 %. It never
// leaves 0 … 1, and holds its level near the ends too. REQUIRES: n > 0.
Interval WilsonInterval(int64_t n_hits, int64_t n, double z);

// Two-sided exact p-value of McNemar's test for paired answers: of the n_lost +
// n_gained questions that changed sides, as many did each way as a fair coin
// would have it. Twice the smaller tail, at most 1; 1 where none changed (Q.
// McNemar, "Note on the sampling error of the difference between correlated
// proportions or percentages", Psychometrika 1947, with the binomial
// distribution itself for the approximation).
double McNemarExact(int64_t n_lost, int64_t n_gained);

}  // namespace narrow

#endif  // NARROW_VALIDATE_TASKS_TASK_STATISTICS_H_
