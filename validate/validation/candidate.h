// A candidate of a validation, open and ready to be run, and what is known of
// it on the text that is being measured.
//
//   ASSIGN_OR_RETURN(OpenCandidate candidate,
//                    OpenCandidate::Open(options, inputs, &report, progress));
//   candidate.BeginText();
//   ... CompareWindows into candidate.scores, verdicts ...
//   candidate.EndText(name, n_texts, seed);
//
// Movable; belongs to one thread.

#ifndef NARROW_VALIDATE_VALIDATION_CANDIDATE_H_
#define NARROW_VALIDATE_VALIDATION_CANDIDATE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "validate/measures/paired_scores.h"
#include "validate/validation.h"
#include "validate/validation/inputs.h"

namespace narrow {

struct OpenCandidate {
  // `report`, which has its path, is borrowed; it gets the errors of the
  // weights, if they are asked for. Errors name the candidate.
  static absl::StatusOr<OpenCandidate> Open(
      const ValidationOptions& options, const ValidationInputs& inputs,
      const ValidationProgressFn& progress, CandidateReport* report);

  void BeginText();
  // Into the report; `n_texts` is of the whole validation.
  void EndText(const std::string& name, size_t n_texts, uint64_t seed);

  std::unique_ptr<Checkpoint> model;
  std::unique_ptr<ModelRunner> runner;
  CandidateReport* report = nullptr;
  PairedScores overall;  // of the texts so far, where there are several
  // On the present text.
  PairedScores scores;
  std::vector<CriterionVerdict> verdicts;
  bool is_decided = false;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_VALIDATION_CANDIDATE_H_
