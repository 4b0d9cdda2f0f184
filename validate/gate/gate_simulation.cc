#include "validate/gate/gate_simulation.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/types/span.h"
#include "validate/gate/gate.h"
#include "validate/gate/sequential.h"

namespace narrow {
namespace {

constexpr double kReferenceLoss = 2.8;
constexpr double kDeltaPScale = 0.2;

// The Box-Muller transform: std::normal_distribution differs between
// libraries.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  // In (0, 1).
  double Uniform() {
    return (static_cast<double>(engine_() >> 11) + 0.5) * 0x1p-53;
  }
  double Normal() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    const double radius = std::sqrt(-2 * std::log(Uniform()));
    const double angle = 6.283185307179586 * Uniform();
    spare_ = radius * std::sin(angle);
    has_spare_ = true;
    return radius * std::cos(angle);
  }

 private:
  std::mt19937_64 engine_;
  double spare_ = 0;
  bool has_spare_ = false;
};

// Sums of a window, and what a table shows of it: the sum of squared losses.
struct SimulatedWindow {
  WindowSums sums;
  double reference_squares = 0;
  double candidate_squares = 0;
};

double MeanDivergence(const SimulatedTokens& t) {
  return t.typical * std::exp(0.5 * (t.log_sigma * t.log_sigma +
                                     t.window_sigma * t.window_sigma));
}

double NormalDensity(double x) {
  return std::exp(-0.5 * x * x) / std::sqrt(2 * 3.141592653589793);
}

// The mean of min(1, c e^2), c = 2 divergence kDeltaPScale^2: closed for e,
// with a = 1 / sqrt(c)
//
//   c (erf(a / sqrt 2) - 2 a density(a)) + erfc(a / sqrt 2),
//
// and by the trapezoidal rule for the logarithm of the divergence, which is
// exact to the last digits for so smooth a function.
double MeanSquaredDeltaP(const SimulatedTokens& t) {
  constexpr double kStep = 0.02;
  const double sigma = std::hypot(t.log_sigma, t.window_sigma);
  double mean = 0;
  for (int i = -500; i <= 500; ++i) {
    const double z = kStep * i;
    const double c =
        2 * t.typical * std::exp(sigma * z) * kDeltaPScale * kDeltaPScale;
    const double a = 1 / std::sqrt(c);
    const double within =
        std::erf(a / std::sqrt(2.0)) - 2 * a * NormalDensity(a);
    mean +=
        kStep * NormalDensity(z) * (c * within + std::erfc(a / std::sqrt(2.0)));
  }
  return mean;
}

SimulatedWindow DrawWindow(const SimulatedTokens& t, Random* random) {
  const double mean_divergence = MeanDivergence(t);
  const double w = t.window_sigma * random->Normal();
  const double shift = t.effect + 0.3 * w * std::sqrt(2 * mean_divergence);
  const double miss =
      t.misses * std::exp(w - 0.5 * t.window_sigma * t.window_sigma);
  const double fresh = std::sqrt(1 - t.correlation * t.correlation);
  SimulatedWindow window;
  WindowSums& sums = window.sums;
  double z = random->Normal();
  for (int64_t i = 0; i < t.n_tokens; ++i) {
    z = i == 0 ? z : t.correlation * z + fresh * random->Normal();
    const double divergence = t.typical * std::exp(t.log_sigma * z + w);
    const double step = std::sqrt(2 * divergence) * random->Normal();
    const double reference =
        -kReferenceLoss * std::exp(w) * std::log(random->Uniform());
    const double candidate =
        reference + shift + step + 0.5 * (divergence - mean_divergence);
    const double delta_p = std::clamp(kDeltaPScale * step, -1.0, 1.0);
    sums.n += 1;
    sums.reference_nll += reference;
    sums.candidate_nll += candidate;
    sums.divergence += divergence;
    sums.delta_p += delta_p;
    sums.delta_p_squared += delta_p * delta_p;
    sums.same_top += random->Uniform() < miss ? 0 : 1;
    window.reference_squares += reference * reference;
    window.candidate_squares += candidate * candidate;
  }
  return window;
}

// Limits of all five criteria, `margin` better or worse than the truth.
// The difference of perplexities has no closed form that is worth having: its
// true value is that of the ratio, times the reference's true perplexity.
GateLimits LimitsBeside(const SimulatedTokens& t, double margin,
                        double error_rate) {
  const double mean_divergence = MeanDivergence(t);
  const double mean_reference =
      kReferenceLoss * std::exp(0.5 * t.window_sigma * t.window_sigma);
  GateLimits limits;
  limits.max_perplexity_ratio = std::expm1(t.effect) * (1 + margin);
  limits.max_perplexity_difference =
      std::exp(mean_reference) * std::expm1(t.effect) * (1 + margin);
  limits.max_divergence = mean_divergence * (1 + margin);
  limits.max_rms_delta_p = std::sqrt(MeanSquaredDeltaP(t)) * (1 + margin);
  limits.min_same_top = 1 - t.misses * (1 + margin);
  limits.error_rate = error_rate;
  return limits;
}

// One criterion of `limits` alone.
GateLimits Only(const GateLimits& limits, Criterion criterion) {
  GateLimits only;
  only.error_rate = limits.error_rate;
  switch (criterion) {
    case Criterion::kPerplexityRatio:
      only.max_perplexity_ratio = limits.max_perplexity_ratio;
      break;
    case Criterion::kPerplexityDifference:
      only.max_perplexity_difference = limits.max_perplexity_difference;
      break;
    case Criterion::kDivergence:
      only.max_divergence = limits.max_divergence;
      break;
    case Criterion::kRmsDeltaP:
      only.max_rms_delta_p = limits.max_rms_delta_p;
      break;
    case Criterion::kSameTop:
      only.min_same_top = limits.min_same_top;
      break;
    case Criterion::kTaskDelta:
      break;
  }
  return only;
}

struct Judged {
  Verdict verdict = Verdict::kUndecided;
  int64_t n_windows = 0;
};

// As a validation goes: look by look, until all is decided.
Judged JudgePair(absl::Span<const WindowSums> windows, const GateLimits& limits,
                 bool early_stop) {
  std::vector<CriterionVerdict> verdicts;
  Judged judged;
  for (const Look& look :
       PlanLooks(static_cast<int64_t>(windows.size()), early_stop)) {
    judged.n_windows = look.n_windows;
    verdicts = KeepDecided(
        verdicts, JudgeText(limits, "",
                            windows.first(static_cast<size_t>(look.n_windows)),
                            RatesFor(limits, 1, 0, look.share)));
    if (std::none_of(verdicts.begin(), verdicts.end(),
                     [](const CriterionVerdict& v) {
                       return v.verdict == Verdict::kUndecided;
                     })) {
      break;
    }
  }
  judged.verdict = WorstOf(verdicts);
  return judged;
}

void Tally(Verdict verdict, bool limit_is_kept, CriterionTally* tally) {
  tally->n_decided += verdict != Verdict::kUndecided;
  tally->wrong_passes += !limit_is_kept && verdict == Verdict::kPass;
  tally->wrong_failures += limit_is_kept && verdict == Verdict::kFail;
}

// A perplexity and its error over tokens, as a table shows them.
struct TableEntry {
  double perplexity = 0;
  double error = 0;
};

TableEntry EntryOf(double n, double sum, double squares) {
  const double mean = sum / n;
  const double perplexity = std::exp(mean);
  return {perplexity,
          perplexity * std::sqrt((squares / n - mean * mean) / (n - 1))};
}

void TallyTables(absl::Span<const SimulatedWindow> windows, double max_ratio,
                 bool limit_is_kept, SimulationResult* result) {
  SimulatedWindow total;
  for (const SimulatedWindow& window : windows) {
    total.sums += window.sums;
    total.reference_squares += window.reference_squares;
    total.candidate_squares += window.candidate_squares;
  }
  const double n = total.sums.n;
  const TableEntry p =
      EntryOf(n, total.sums.reference_nll, total.reference_squares);
  const TableEntry q =
      EntryOf(n, total.sums.candidate_nll, total.candidate_squares);
  const double raised = p.perplexity * (1 + max_ratio);
  Tally(q.perplexity - q.error <= raised + p.error ? Verdict::kPass
                                                   : Verdict::kFail,
        limit_is_kept, &result->overlap);
  Tally(q.perplexity <= raised ? Verdict::kPass : Verdict::kFail, limit_is_kept,
        &result->bare);
}

}  // namespace

SimulationResult SimulateGate(const SimulatedTokens& tokens,
                              const SimulationSettings& settings) {
  Random random(settings.seed);
  SimulationResult result;
  int64_t n_measured = 0;
  for (int64_t pair = 0; pair < settings.n_pairs; ++pair) {
    std::vector<SimulatedWindow> windows;
    std::vector<WindowSums> sums;
    for (int64_t b = 0; b < settings.n_windows; ++b) {
      windows.push_back(DrawWindow(tokens, &random));
      sums.push_back(windows.back().sums);
    }
    for (const bool kept : {false, true}) {
      const GateLimits limits =
          LimitsBeside(tokens, kept ? settings.margin : -settings.margin,
                       settings.error_rate);
      for (size_t c = 0; c < result.criteria.size(); ++c) {
        const GateLimits only = Only(limits, static_cast<Criterion>(c));
        Tally(JudgePair(sums, only, settings.early_stop).verdict, kept,
              &result.criteria[c]);
      }
      const Judged all = JudgePair(sums, limits, settings.early_stop);
      Tally(all.verdict, kept, &result.all);
      n_measured += all.n_windows;
      TallyTables(windows, *limits.max_perplexity_ratio, kept, &result);
    }
  }
  result.mean_windows = static_cast<double>(n_measured) /
                        static_cast<double>(2 * settings.n_pairs);
  return result;
}

}  // namespace narrow
