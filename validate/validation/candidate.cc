#include "validate/validation/candidate.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "validate/measures/comparison.h"
#include "validate/weights/weight_error.h"

namespace narrow {
namespace {

absl::Status RunWeights(const ValidationOptions& options,
                        const ValidationInputs& inputs,
                        const ValidationProgressFn& progress,
                        OpenCandidate* candidate) {
  if (!options.compare_weights || inputs.original == nullptr) {
    return absl::OkStatus();
  }
  WeightProgressFn weight_progress;
  if (progress) {
    weight_progress = [&](int64_t done, int64_t total) {
      ValidationProgress now{candidate->model->path(), "weights", {}};
      now.score.tokens_done = done;
      now.score.tokens_total = total;
      progress(now);
    };
  }
  ASSIGN_OR_RETURN(candidate->report->weights,
                   CompareWeights(*inputs.original, *candidate->model,
                                  options.runner.n_threads, weight_progress));
  return absl::OkStatus();
}

absl::Status OpenIt(const ValidationOptions& options,
                    const ValidationInputs& inputs,
                    const ValidationProgressFn& progress,
                    OpenCandidate* candidate) {
  ASSIGN_OR_RETURN(candidate->model,
                   OpenModel(options, candidate->report->model.path));
  RETURN_IF_ERROR(RunWeights(options, inputs, progress, candidate));
  ASSIGN_OR_RETURN(candidate->runner,
                   ModelRunner::Create(candidate->model.get(), options.runner));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OpenCandidate> OpenCandidate::Open(
    const ValidationOptions& options, const ValidationInputs& inputs,
    const ValidationProgressFn& progress, CandidateReport* report) {
  OpenCandidate candidate;
  candidate.report = report;
  const absl::Status status = OpenIt(options, inputs, progress, &candidate);
  RETURN_IF_ERROR(
      Annotate(status, absl::StrCat("measuring ", report->model.path)));
  return candidate;
}

void OpenCandidate::BeginText() {
  scores = {};
  verdicts.clear();
  is_decided = false;
}

void OpenCandidate::EndText(const std::string& name, size_t n_texts,
                            uint64_t seed) {
  report->criteria.insert(report->criteria.end(), verdicts.begin(),
                          verdicts.end());
  DomainComparison domain;
  domain.domain = name;
  domain.figures = MakeComparison(scores, seed);
  for (const WindowSums& window : SumWindows(scores)) {
    domain.window_tokens.push_back(static_cast<int64_t>(window.n));
    domain.window_log_ratio.push_back(
        (window.candidate_nll - window.reference_nll) / window.n);
    domain.window_divergence.push_back(window.divergence / window.n);
  }
  report->domains.push_back(std::move(domain));
  if (n_texts > 1) {
    overall.Append(scores);
  }
}

}  // namespace narrow
