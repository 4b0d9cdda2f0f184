// Tested by: gate_test, gate_simulation_test.

#include "validate/gate/gate.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "absl/functional/function_ref.h"
#include "validate/gate/bounds.h"
#include "validate/gate/quantiles.h"

namespace narrow {
namespace {

// More than anyone measures: beyond it an estimate is as good as at its limit.
constexpr double kMostNeeded = 1e9;

// Bounds on a scale where the estimate is a mean, and the way to the limit's.
struct Bounds {
  double upper = 0;  // at the rate of the side that it serves
  double lower = 0;
};

using WindowValue = absl::FunctionRef<double(const WindowSums&)>;

ClusterMean MeanOver(absl::Span<const WindowSums> windows, WindowValue value) {
  std::vector<double> sums;
  std::vector<double> sizes;
  for (const WindowSums& window : windows) {
    sums.push_back(value(window));
    sizes.push_back(window.n);
  }
  return MeanOfClusters(sums, sizes);
}

// The rate at which the criterion's upper bound is taken: it is the side of
// passing for a greatest value.
double UpperRate(Criterion criterion, const GateRates& rates) {
  return IsLowerLimit(criterion) ? rates.fail : rates.pass;
}

double LowerRate(Criterion criterion, const GateRates& rates) {
  return IsLowerLimit(criterion) ? rates.pass : rates.fail;
}

// Errors fall with the root of the sample, so a bound that is `width` from the
// estimate is `room` away with (width / room)^2 times as much.
std::optional<int64_t> Needed(int64_t n_used, double width, double room) {
  const double needed =
      std::ceil(static_cast<double>(n_used) * (width / room) * (width / room));
  if (!std::isfinite(needed) || needed > kMostNeeded) {
    return std::nullopt;
  }
  return std::max(static_cast<int64_t>(needed), n_used + 1);
}

// The verdict of bounds in the unit of the limit.
CriterionVerdict Decide(Criterion criterion, absl::string_view domain,
                        double limit, double value, const Bounds& bounds,
                        const GateRates& rates, int64_t n_used) {
  const bool least = IsLowerLimit(criterion);
  CriterionVerdict v;
  v.criterion = criterion;
  v.domain = std::string(domain);
  v.limit = limit;
  v.value = value;
  v.pass_bound = least ? bounds.lower : bounds.upper;
  v.fail_bound = least ? bounds.upper : bounds.lower;
  v.pass_rate = rates.pass;
  v.fail_rate = rates.fail;
  v.n_used = n_used;
  // A NaN decides nothing.
  const bool passes = least ? v.pass_bound >= limit : v.pass_bound <= limit;
  const bool fails = least ? v.fail_bound < limit : v.fail_bound > limit;
  v.verdict = passes  ? Verdict::kPass
              : fails ? Verdict::kFail
                      : Verdict::kUndecided;
  if (v.verdict == Verdict::kUndecided) {
    const bool good = least ? value >= limit : value <= limit;
    v.n_needed =
        n_used < kMinClusters
            ? std::optional<int64_t>(kMinClusters)
            : Needed(n_used,
                     std::abs((good ? v.pass_bound : v.fail_bound) - value),
                     std::abs(limit - value));
  }
  return v;
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Where `f`, which falls from `low` to `high`, comes to zero; `low` if it is
// there already, infinity if it does not fall that far.
double FallsToZero(double low, double high,
                   absl::FunctionRef<double(double)> f) {
  if (f(low) <= 0) {
    return low;
  }
  if (f(high) > 0) {
    return kInfinity;
  }
  // To the last digits that anyone prints.
  for (int i = 0; i < 60 && high - low > 1e-12 * std::abs(high); ++i) {
    const double middle = 0.5 * (low + high);
    (f(middle) > 0 ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

class TextJudge {
 public:
  TextJudge(absl::string_view domain, absl::Span<const WindowSums> windows,
            const GateRates& rates)
      : domain_(domain),
        windows_(windows),
        rates_(rates),
        pass_quantile_(
            BoundQuantile(rates.pass, static_cast<int64_t>(windows.size()))),
        fail_quantile_(
            BoundQuantile(rates.fail, static_cast<int64_t>(windows.size()))) {}

  // A mean of `value` over tokens, whose `scale` is in the limit's unit.
  void Judge(Criterion criterion, double limit, WindowValue value,
             absl::FunctionRef<double(double)> scale) {
    const ClusterMean mean = MeanOver(windows_, value);
    const Bounds bounds = {scale(UpperBound(mean, UpperQuantile(criterion))),
                           scale(LowerBound(mean, LowerQuantile(criterion)))};
    Add(criterion, limit, scale(mean.mean), bounds);
  }

  void JudgeSameTop(double limit) {
    constexpr Criterion kCriterion = Criterion::kSameTop;
    const ClusterMean mean =
        MeanOver(windows_, [](const WindowSums& w) { return w.same_top; });
    double n = 0;
    double n_hits = 0;
    for (const WindowSums& window : windows_) {
      n += window.n;
      n_hits += window.same_top;
    }
    const double upper_rate = UpperRate(kCriterion, rates_);
    const double lower_rate = LowerRate(kCriterion, rates_);
    // Shares near one vary too little from window to window for those to say
    // what tokens may still do.
    const Bounds bounds = {
        std::min(1.0, std::max(UpperBound(mean, UpperQuantile(kCriterion)),
                               UpperShareBound(n_hits, n, upper_rate))),
        std::max(0.0, std::min(LowerBound(mean, LowerQuantile(kCriterion)),
                               LowerShareBound(n_hits, n, lower_rate)))};
    Add(kCriterion, limit, mean.mean, bounds);
  }

  // The bounds of a difference of perplexities are the differences x for which
  // a bound of ln P_c - ln (P_r + x) is zero. That is linear in the two mean
  // losses but for a part of the order of x / P_r, which the difference itself
  // is not: its error is mostly that of the text's difficulty.
  void JudgeDifference(double limit) {
    constexpr Criterion kCriterion = Criterion::kPerplexityDifference;
    const double log_p = MeanOver(windows_, [](const WindowSums& w) {
                           return w.reference_nll;
                         }).mean;
    const double log_q = MeanOver(windows_, [](const WindowSums& w) {
                           return w.candidate_nll;
                         }).mean;
    const double p = std::exp(log_p);
    const double q = std::exp(log_q);
    const auto excess = [&](double x) {
      const double weight = p / (p + x);
      ClusterMean mean = MeanOver(windows_, [&](const WindowSums& w) {
        return w.candidate_nll - weight * w.reference_nll;
      });
      mean.mean = log_q - std::log(p + x);
      return mean;
    };
    const double upper = UpperQuantile(kCriterion);
    const double lower = LowerQuantile(kCriterion);
    const Bounds bounds = {
        std::isfinite(upper)
            ? FallsToZero(
                  q - p, 64 * (p + q),
                  [&](double x) { return UpperBound(excess(x), upper); })
            : kInfinity,
        std::isfinite(lower)
            ? FallsToZero(
                  -p, q - p,
                  [&](double x) { return LowerBound(excess(x), lower); })
            : -kInfinity};
    Add(kCriterion, limit, q - p, bounds);
  }

  std::vector<CriterionVerdict> Take() { return std::move(verdicts_); }

 private:
  double UpperQuantile(Criterion criterion) const {
    return IsLowerLimit(criterion) ? fail_quantile_ : pass_quantile_;
  }
  double LowerQuantile(Criterion criterion) const {
    return IsLowerLimit(criterion) ? pass_quantile_ : fail_quantile_;
  }

  void Add(Criterion criterion, double limit, double value,
           const Bounds& bounds) {
    verdicts_.push_back(Decide(criterion, domain_, limit, value, bounds, rates_,
                               static_cast<int64_t>(windows_.size())));
  }

  const absl::string_view domain_;
  const absl::Span<const WindowSums> windows_;
  const GateRates rates_;
  const double pass_quantile_;
  const double fail_quantile_;
  std::vector<CriterionVerdict> verdicts_;
};

double NllDifference(const WindowSums& w) {
  return w.candidate_nll - w.reference_nll;
}

}  // namespace

GateRates RatesFor(const GateLimits& limits, int64_t n_domains, int64_t n_tasks,
                   double share) {
  const int64_t n_text_criteria = (limits.max_perplexity_ratio ? 1 : 0) +
                                  (limits.max_perplexity_difference ? 1 : 0) +
                                  (limits.max_divergence ? 1 : 0) +
                                  (limits.max_rms_delta_p ? 1 : 0) +
                                  (limits.min_same_top ? 1 : 0);
  const int64_t n_criteria =
      n_text_criteria * n_domains + (limits.min_task_delta ? n_tasks : 0);
  GateRates rates;
  rates.pass = limits.error_rate * share;
  rates.fail =
      rates.pass / static_cast<double>(std::max<int64_t>(1, n_criteria));
  return rates;
}

std::vector<CriterionVerdict> JudgeText(const GateLimits& limits,
                                        absl::string_view domain,
                                        absl::Span<const WindowSums> windows,
                                        const GateRates& rates) {
  TextJudge judge(domain, windows, rates);
  if (limits.max_perplexity_ratio) {
    judge.Judge(Criterion::kPerplexityRatio, *limits.max_perplexity_ratio,
                NllDifference, [](double x) { return std::expm1(x); });
  }
  if (limits.max_perplexity_difference) {
    judge.JudgeDifference(*limits.max_perplexity_difference);
  }
  if (limits.max_divergence) {
    judge.Judge(
        Criterion::kDivergence, *limits.max_divergence,
        [](const WindowSums& w) { return w.divergence; },
        [](double x) { return std::max(x, 0.0); });
  }
  if (limits.max_rms_delta_p) {
    judge.Judge(
        Criterion::kRmsDeltaP, *limits.max_rms_delta_p,
        [](const WindowSums& w) { return w.delta_p_squared; },
        [](double x) { return std::sqrt(std::max(x, 0.0)); });
  }
  if (limits.min_same_top) {
    judge.JudgeSameTop(*limits.min_same_top);
  }
  return judge.Take();
}

CriterionVerdict JudgeTask(double min_task_delta, const TaskDelta& delta,
                           const GateRates& rates) {
  assert(delta.n_questions > 0);
  const double n = static_cast<double>(delta.n_questions);
  Estimate center = delta.difference;
  if (delta.right_or_wrong) {
    const double gained = static_cast<double>(delta.n_gained) + 0.5;
    const double lost = static_cast<double>(delta.n_lost) + 0.5;
    center.value = (gained - lost) / (n + 2);
    center.error =
        std::sqrt(gained + lost - (gained - lost) * (gained - lost) / (n + 2)) /
        (n + 2);
  }
  constexpr Criterion kCriterion = Criterion::kTaskDelta;
  // As many degrees of freedom as questions less one: of the normal
  // distribution but for a handful of questions.
  const double freedom = std::max(1.0, n - 1);
  const Bounds bounds = {
      center.value +
          center.error *
              StudentQuantile(1 - UpperRate(kCriterion, rates), freedom),
      center.value + center.error * StudentQuantile(
                                        LowerRate(kCriterion, rates), freedom)};
  return Decide(kCriterion, delta.name, min_task_delta, delta.difference.value,
                bounds, rates, delta.n_questions);
}

Verdict WorstOf(absl::Span<const CriterionVerdict> verdicts) {
  Verdict worst = Verdict::kPass;
  for (const CriterionVerdict& v : verdicts) {
    worst = Worse(worst, v.verdict);
  }
  return worst;
}

std::vector<CriterionVerdict> KeepDecided(
    absl::Span<const CriterionVerdict> before,
    std::vector<CriterionVerdict> now) {
  assert(before.empty() || before.size() == now.size());
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i].verdict != Verdict::kUndecided) {
      now[i] = before[i];
    }
  }
  return now;
}

}  // namespace narrow
