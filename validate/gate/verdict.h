// What a gate asks for, and what it says: plain values.
//
//   GateLimits limits;
//   limits.max_divergence = 0.05;
//   CriterionVerdict v = ...;
//   if (v.verdict == Verdict::kUndecided) ... v.windows_needed ...

#ifndef NARROW_VALIDATE_GATE_VERDICT_H_
#define NARROW_VALIDATE_GATE_VERDICT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace narrow {

enum class Verdict {
  kPass,       // the worst value that the data allow is within the limit
  kUndecided,  // the data allow both
  kFail,       // the best value that the data allow is beyond the limit
};

// "pass", "undecided", "fail".
absl::string_view VerdictName(Verdict verdict);

// The worse of both: fail, then undecided, then pass.
Verdict Worse(Verdict a, Verdict b);

enum class Criterion {
  kPerplexityRatio,       // candidate's / reference's - 1, at most
  kPerplexityDifference,  // candidate's - reference's, at most
  kDivergence,            // mean KL divergence in nats, at most
  kRmsDeltaP,             // RMS change of the right token's probability
  kSameTop,               // share of equal top tokens, at least
  kTaskDelta,             // candidate's accuracy - reference's, at least
};

// The flag that sets its limit, without dashes: "max-ppl-delta", "max-kld",
// "max-rms-dp", "min-top1", "min-task-delta".
absl::string_view CriterionFlag(Criterion criterion);
// What its limit is in: "ratio", "perplexity", "nats", "share". A ratio is the
// candidate's perplexity over the reference's, less 1.
absl::string_view CriterionUnit(Criterion criterion);
// Whether the limit is a least value rather than a greatest.
bool IsLowerLimit(Criterion criterion);

// Those that are asked for. Shares are shares: 1 % is 0.01.
struct GateLimits {
  std::optional<double> max_perplexity_ratio;  // - 1: 0.01 for 1 %
  std::optional<double> max_perplexity_difference;
  std::optional<double> max_divergence;
  std::optional<double> max_rms_delta_p;
  std::optional<double> min_same_top;
  std::optional<double> min_task_delta;  // -0.01: one point may be lost
  // Greatest probability of a wrong pass, and of a wrong failure, of one
  // candidate; see bounds.h for how it is shared among criteria.
  double error_rate = 0.05;

  bool any() const {
    return max_perplexity_ratio || max_perplexity_difference ||
           max_divergence || max_rms_delta_p || min_same_top || min_task_delta;
  }
};

// One criterion on one text or task.
struct CriterionVerdict {
  Criterion criterion = Criterion::kDivergence;
  std::string domain;  // the text's or task's name
  double limit = 0;
  double value = 0;  // the bare estimate, in the unit of the limit
  // One-sided confidence bounds in the unit of the limit: of the kind that
  // passes (level pass_rate) and of the kind that fails (level fail_rate).
  // For a greatest value the former is an upper bound and the latter a lower
  // one; for a least value the other way round.
  double pass_bound = 0;
  double fail_bound = 0;
  double pass_rate = 0;
  double fail_rate = 0;
  Verdict verdict = Verdict::kUndecided;
  // What it was decided on: windows of a text, questions of a task.
  int64_t n_used = 0;
  // Where undecided: about so many altogether would decide, if the estimate
  // stays as it is; none if it is too close to the limit to say.
  std::optional<int64_t> n_needed;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_GATE_VERDICT_H_
