// Verdicts on a candidate: is it, at a stated error rate, within its limits?
//
//   GateRates rates = RatesFor(limits, n_domains, n_tasks, look.share);
//   auto verdicts = JudgeText(limits, "wiki", SumWindows(scores), rates);
//   auto more = JudgeTask(*limits.min_task_delta, delta, rates);
//
// A criterion passes when the bound of its worst value is within the limit,
// fails when the bound of its best value is beyond it, and is undecided
// otherwise: never on the estimate itself, which is as often too good as it
// is too bad.
//
// Many criteria, one candidate. It passes if all of them pass, so a candidate
// that breaks one limit passes wrongly only if that one criterion errs:
// each may use the whole rate (R. Berger, Multiparameter Hypothesis Testing
// and Acceptance Sampling, Technometrics 24, 1982, 295-300, the intersection-
// union test). It fails if any of them fails, so the rate of wrong failures
// is shared equally among all (Bonferroni). Both kinds of error have the
// stated rate for one candidate; several candidates are judged each for
// itself, so of 20 good ones one may fail at 5 %.
//
// Pure functions.

#ifndef NARROW_VALIDATE_GATE_GATE_H_
#define NARROW_VALIDATE_GATE_GATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "validate/estimate.h"
#include "validate/gate/verdict.h"
#include "validate/measures/paired_scores.h"

namespace narrow {

// Error rates of one criterion at one look.
struct GateRates {
  double pass = 0;
  double fail = 0;
};

// What a criterion may use, of a candidate judged on so many texts and tasks;
// `share` is that of a look (sequential.h). REQUIRES: limits.any().
GateRates RatesFor(const GateLimits& limits, int64_t n_domains, int64_t n_tasks,
                   double share);

// Every criterion on texts that `limits` names, in the order of Criterion.
std::vector<CriterionVerdict> JudgeText(const GateLimits& limits,
                                        absl::string_view domain,
                                        absl::Span<const WindowSums> windows,
                                        const GateRates& rates);

// What a candidate's answers to a task came to, against the reference's.
struct TaskDelta {
  std::string name;
  int64_t n_questions = 0;
  // Candidate's - reference's score in 0 … 1; the error is over questions.
  Estimate difference;
  // Of answers that are right or wrong: those that the candidate alone has
  // right, and that the reference alone has.
  bool right_or_wrong = true;
  int64_t n_gained = 0;
  int64_t n_lost = 0;
};

// The change of a task's score against its least value. Questions are taken as
// independent; where answers are right or wrong, a half is added to each kind
// of changed answer before the normal bound is taken, which keeps its rate
// where few have changed (A. Agresti, Y. Min, Statistics in Medicine 24, 2005,
// 729-740).
CriterionVerdict JudgeTask(double min_task_delta, const TaskDelta& delta,
                           const GateRates& rates);

// The worst of them; kPass of none.
Verdict WorstOf(absl::Span<const CriterionVerdict> verdicts);

// `now` in place of `before`, except where that was decided already: a
// criterion keeps the verdict of the look that decided it. REQUIRES: both are
// of the same criteria in the same order, or `before` is empty.
std::vector<CriterionVerdict> KeepDecided(
    absl::Span<const CriterionVerdict> before,
    std::vector<CriterionVerdict> now);

}  // namespace narrow

#endif  // NARROW_VALIDATE_GATE_GATE_H_
