#include "validate/gate/verdict.h"

#include <algorithm>
#include <cassert>

namespace narrow {

absl::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return "pass";
    case Verdict::kUndecided:
      return "undecided";
    case Verdict::kFail:
      return "fail";
  }
  assert(false);
  return "";
}

// The enumeration goes from good to bad.
Verdict Worse(Verdict a, Verdict b) { return std::max(a, b); }

absl::string_view CriterionFlag(Criterion criterion) {
  switch (criterion) {
    case Criterion::kPerplexityRatio:
    case Criterion::kPerplexityDifference:
      return "max-ppl-delta";
    case Criterion::kDivergence:
      return "max-kld";
    case Criterion::kRmsDeltaP:
      return "max-rms-dp";
    case Criterion::kSameTop:
      return "min-top1";
    case Criterion::kTaskDelta:
      return "min-task-delta";
  }
  assert(false);
  return "";
}

absl::string_view CriterionUnit(Criterion criterion) {
  switch (criterion) {
    case Criterion::kPerplexityRatio:
      return "ratio";
    case Criterion::kPerplexityDifference:
      return "perplexity";
    case Criterion::kDivergence:
      return "nats";
    case Criterion::kRmsDeltaP:
    case Criterion::kSameTop:
    case Criterion::kTaskDelta:
      return "share";
  }
  assert(false);
  return "";
}

bool IsLowerLimit(Criterion criterion) {
  return criterion == Criterion::kSameTop || criterion == Criterion::kTaskDelta;
}

}  // namespace narrow
