// Tested by: allocation_files_test.

#include "converter/allocation/measure_divergence.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "calibration/model_runner.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "validate/measures/divergence.h"

namespace narrow {
namespace {

// Tokens that go through the models together.
constexpr int64_t kGroupTokens = 4096;

// Final hidden states, normed, of the tokens that are judged among samples
// [first, first + n).
absl::StatusOr<std::vector<float>> FinalRows(const CalibrationSamples& samples,
                                             int64_t first, int64_t n,
                                             ModelRunner* runner) {
  const int64_t window = samples.sample_tokens;
  HiddenStates hidden;
  RETURN_IF_ERROR(runner->Embed(
      absl::MakeConstSpan(samples.ids).subspan(first * window, n * window),
      window, &hidden));
  for (int64_t b = 0; b < runner->n_blocks(); ++b) {
    RETURN_IF_ERROR(runner->RunBlock(b, /*observer=*/nullptr, &hidden));
  }
  RETURN_IF_ERROR(runner->FinalNorm(&hidden));
  std::vector<float> rows;
  for (int64_t t = 0; t < n * window; ++t) {
    if (t % window >= window / 2 &&
        samples.counts[static_cast<size_t>(first * window + t)] != 0) {
      const float* row = hidden.values.data() + t * runner->hidden_size();
      rows.insert(rows.end(), row, row + runner->hidden_size());
    }
  }
  return rows;
}

}  // namespace

absl::StatusOr<double> MeasureDivergence(const Checkpoint& original,
                                         const Checkpoint& written,
                                         const CalibrationSamples& samples,
                                         int n_threads) {
  RunnerOptions options;
  options.n_threads = n_threads;
  options.precision = Precision::kReproducible;
  ASSIGN_OR_RETURN(const auto reference,
                   ModelRunner::Create(&original, options));
  ASSIGN_OR_RETURN(const auto candidate,
                   ModelRunner::Create(&written, options));
  ThreadPool pool(n_threads);
  std::vector<double> divergences;
  const int64_t group =
      std::max<int64_t>(1, kGroupTokens / samples.sample_tokens);
  for (int64_t first = 0; first < samples.n_samples(); first += group) {
    const int64_t n = std::min(group, samples.n_samples() - first);
    ASSIGN_OR_RETURN(const std::vector<float> theirs,
                     FinalRows(samples, first, n, reference.get()));
    ASSIGN_OR_RETURN(const std::vector<float> ours,
                     FinalRows(samples, first, n, candidate.get()));
    const DivergenceReference known = {reference.get(), &theirs, &pool};
    RETURN_IF_ERROR(AddDivergences(
        known, 0, ours.data(),
        static_cast<int64_t>(ours.size()) / candidate->hidden_size(),
        candidate.get(), &divergences));
  }
  if (divergences.empty()) {
    return absl::InvalidArgumentError(
        "no token of the second half of a window counts");
  }
  double sum = 0;
  for (const double divergence : divergences) {
    sum += divergence;
  }
  return sum / static_cast<double>(divergences.size());
}

}  // namespace narrow
