// Does the gate keep its word? Synthetic pairs of models whose true effects
// are known, judged again and again.
//
//   SimulatedTokens tokens;                 // heavy tails, by default
//   SimulationResult r = SimulateGate(tokens, settings);
//   r.of(Criterion::kDivergence).wrong_passes;    // of settings.n_pairs
//
// A pair is n_windows windows of n_tokens. In window b, with w of the normal
// distribution (0, window_sigma) and z an autoregression (correlation from one
// token to the next, variance 1), a token has
//
//   divergence      exp(log_sigma z + w) * typical
//   loss difference effect + sqrt(2 divergence) e + 0.5 (divergence - mean)
//                   + 0.3 w sqrt(2 mean),        e normal (0, 1)
//   delta p         0.2 sqrt(2 divergence) e, within -1 … 1
//   same top        with probability 1 - misses exp(w - window_sigma^2 / 2)
//   reference loss  exponential of mean 2.8, times exp(w)
//
// so that divergences are log-normal, differences have heavy tails and are
// skewed, and all of a window go together. The true means are known. Every
// pair is judged against a limit just inside its true value (a pass is wrong)
// and one just outside (a failure is wrong).
//
// For tests and the program gate_simulation.

#ifndef NARROW_VALIDATE_GATE_GATE_SIMULATION_H_
#define NARROW_VALIDATE_GATE_GATE_SIMULATION_H_

#include <array>
#include <cstdint>
#include <vector>

#include "validate/gate/verdict.h"
#include "validate/measures/paired_scores.h"

namespace narrow {

struct SimulatedTokens {
  double log_sigma = 1.8;
  double window_sigma = 0.5;
  double correlation = 0.3;
  double typical = 0.01;    // the median divergence
  double effect = 0.00995;  // ln 1.01
  double misses = 0.1;
  int64_t n_tokens = 255;
};

struct SimulationSettings {
  int64_t n_pairs = 2000;
  int64_t n_windows = 40;
  double error_rate = 0.05;
  // The limits lie so far from the truth, relatively, on either side.
  double margin = 0.002;
  bool early_stop = false;
  uint64_t seed = 1;
};

struct CriterionTally {
  // Against the limit that is broken, and against the one that is kept.
  int64_t wrong_passes = 0;
  int64_t wrong_failures = 0;
  // Decided, and not undecided, of both together (2 n_pairs).
  int64_t n_decided = 0;
};

struct SimulationResult {
  // Each criterion by itself.
  std::array<CriterionTally, 5> criteria;
  // All five at once, as one gate: its limits all just broken, all just kept.
  CriterionTally all;
  // What readers of tables do with two perplexities and their errors: pass if
  // the intervals overlap once the reference's is raised by the limit; and
  // pass if the bare ratio is within the limit.
  CriterionTally overlap;
  CriterionTally bare;
  // Windows measured before all was decided, or in the end; a mean.
  double mean_windows = 0;

  const CriterionTally& of(Criterion criterion) const {
    return criteria[static_cast<size_t>(criterion)];
  }
};

SimulationResult SimulateGate(const SimulatedTokens& tokens,
                              const SimulationSettings& settings);

}  // namespace narrow

#endif  // NARROW_VALIDATE_GATE_GATE_SIMULATION_H_
