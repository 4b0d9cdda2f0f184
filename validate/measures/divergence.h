// Kullback-Leibler divergence of a candidate's next-token probabilities from
// a reference's, position by position:
//
//   KL = sum over tokens of p (log p - log q),
//
// p the reference's, q the candidate's, in nats; over the whole vocabulary,
// nothing clipped. (Where one model has rows for ids that no token has, which
// converters may leave out, over the ids that both have.) What is kept of the
// reference are its final hidden states: its logits are computed again, slice
// by slice, so nothing is rounded on the way and memory is a slice of logits of
// both. Where both models are on a device, logits stay there.
//
//   DivergenceReference reference = {runner_of_it, &its_rows, pool};
//   RETURN_IF_ERROR(AddDivergences(reference, first, rows, n, runner, &kl));

#ifndef NARROW_VALIDATE_MEASURES_DIVERGENCE_H_
#define NARROW_VALIDATE_MEASURES_DIVERGENCE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "calibration/device/compare_logits.h"
#include "calibration/model_runner.h"
#include "formats/base/parallel.h"

namespace narrow {

// The reference's final hidden states of all scored positions, in order,
// [n_rows, hidden_size], normed. All are borrowed.
struct DivergenceReference {
  ModelRunner* runner = nullptr;
  const std::vector<float>* rows = nullptr;
  ThreadPool* pool = nullptr;
  // Bound on the logits of both models; one row of each at least.
  int64_t logits_bytes = int64_t{256} << 20;
};

// Appends the divergences of n_rows positions, the first of which is number
// `first_row` of the reference's; `rows` are the candidate's. DataLoss names
// the position of a divergence that is not finite. REQUIRES: the reference has
// these rows.
absl::Status AddDivergences(const DivergenceReference& reference,
                            int64_t first_row, const float* rows,
                            int64_t n_rows, ModelRunner* candidate,
                            std::vector<double>* divergences);

// A reference's probabilities of one position: the terms exp(logit - top), and
// what they and their sum are made with.
struct ExpSum {
  float top = 0;
  double sum = 0;
};

// Logits to exp(logit - top).
ExpSum ExpInPlace(int64_t n_tokens, float* logits);

// Of a reference's logits, with `exps` and `terms` what ExpInPlace makes of a
// copy of them, and a candidate's, which are overwritten. The sum over tokens
// is in double. Tiny negative results of rounding become 0.
double DivergenceFrom(int64_t n_tokens, const float* reference,
                      const float* exps, const ExpSum& terms, float* candidate);

// Of sums over both models' tokens: `cross` of exp(p - p.top) * (p - q).
double DivergenceOfSums(double cross, const ExpSum& p, const ExpSum& q);
double DivergenceOfTerms(const LogitTerms& terms);

// Of two rows of logits; both are overwritten. The same number.
double DivergenceOfLogits(int64_t n_tokens, float* reference, float* candidate);

}  // namespace narrow

#endif  // NARROW_VALIDATE_MEASURES_DIVERGENCE_H_
