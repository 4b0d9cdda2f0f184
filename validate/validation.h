// Candidates judged against the model they were made from.
//
//   ValidationOptions options;
//   options.original = "gemma-3-270m";
//   options.candidates = {"gemma-3-270m-Q4_K_M.gguf"};
//   options.domains = {{"wiki", {"wiki.test.raw"}}};
//   options.limits.max_divergence = 0.05;
//   ASSIGN_OR_RETURN(ValidationReport report,
//                    Validate(options, progress));
//   if (report.verdict == Verdict::kFail) ...
//
// The reference goes through each text once, whatever the number of
// candidates; what is kept of it are its final hidden states (cache/). The
// candidates follow side by side (reference/compare_pass.h): the reference's
// output matrix, too, is applied once, so a candidate more costs its own pass.
// Memory is that of one model at a time, output matrices, and a bounded slice
// of logits; with early_stop that of two, since the reference then goes no
// further than a candidate needs. A candidate that comes in a later run finds
// the hidden states, and applies the reference's output matrix once more.

#ifndef NARROW_VALIDATE_VALIDATION_H_
#define NARROW_VALIDATE_VALIDATION_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "validate/gate/verdict.h"
#include "validate/measures/figures.h"
#include "validate/reference/window_pass.h"
#include "validate/sanity/sanity.h"
#include "validate/tasks/task.h"
#include "validate/tasks/task_report.h"
#include "validate/weights/weight_error.h"
#include "validate/windows.h"

namespace narrow {

// A text with a name; several files are joined.
struct ValidationDomain {
  std::string name;
  std::vector<std::string> paths;
};

// What was asked of a candidate; none if that is not known.
using ExpectedTypesFn = std::function<std::optional<ExpectedTypes>(
    const Checkpoint& original, const Checkpoint& candidate)>;

struct ValidationOptions {
  std::string original;                 // empty if base_path is given
  std::vector<std::string> candidates;  // none is enough for tasks alone
  std::vector<ValidationDomain> domains;
  std::vector<TaskRequest> tasks;  // none with base_path
  WindowSettings windows;
  CheckpointOptions checkpoint;
  RunnerOptions runner;
  int64_t hidden_bytes = int64_t{256} << 20;  // see ScoreOptions
  // Where hidden states of references are kept; empty: for this call only.
  std::string cache_folder;
  bool cache_bfloat16 = false;  // half the size, rounded
  // llama-perplexity's base file: read in place of original and domains, or
  // written beside the measurement (one domain). Empty: neither.
  std::string base_path;
  std::string write_base_path;
  GateLimits limits;
  // Stop a text when every criterion on it is decided (gate/sequential.h).
  bool early_stop = false;
  uint64_t seed = 0;  // of the bootstrap
  // Also how far the candidates' weights are from the original's; no matter
  // with a base file.
  bool compare_weights = false;
  // For sanity checks; may be empty.
  ExpectedTypesFn expected_types;
};

struct ValidatedModel {
  std::string path;
  // SHA-256 of its contents (formats/arch/model_hash.h), in hexadecimal.
  std::string hash;
  int64_t tensor_bytes = 0;  // of all tensors, as stored
  int64_t n_weights = 0;

  double bits_per_weight() const {
    return n_weights == 0 ? 0
                          : 8.0 * static_cast<double>(tensor_bytes) /
                                static_cast<double>(n_weights);
  }
};

struct ValidatedDomain {
  std::string name;
  std::vector<std::string> paths;
  std::string text_hash;  // SHA-256 of the joined text, in hexadecimal
  int64_t text_bytes = 0;
  int64_t n_tokens = 0;   // of the whole text
  int64_t n_windows = 0;  // that could be scored; max_windows applied
  bool windows_begin_with_bos = false;
};

// One candidate on one text.
struct DomainComparison {
  std::string domain;
  Comparison figures;
  // Of each window, in order, for who wants to draw or test them: tokens, and
  // means over them.
  std::vector<int64_t> window_tokens;
  std::vector<double> window_log_ratio;
  std::vector<double> window_divergence;
};

struct CandidateReport {
  ValidatedModel model;
  std::vector<DomainComparison> domains;  // in the order of report.domains
  // All texts together, where there is more than one.
  std::optional<Comparison> overall;
  // Every criterion on every text and task; empty without a gate.
  std::vector<CriterionVerdict> criteria;
  // The worst of them; none without a gate. What is not sane fails it.
  std::optional<Verdict> verdict;
  // Where they were compared.
  std::optional<WeightErrors> weights;
  // Against the original, if that is a model.
  std::optional<SanityReport> sanity;
  double seconds = 0;  // in this model
  int64_t n_run_tokens = 0;
};

struct ValidationReport {
  WindowSettings windows;
  Precision precision = Precision::kExact;
  int n_threads = 0;
  std::string device = "processor";  // DeviceName of perplexity/report.h
  GateLimits limits;
  bool early_stop = false;
  uint64_t seed = 0;
  std::vector<std::string> warnings;

  ValidatedModel original;  // path only: that of the base file, if one is read
  bool reference_is_base_file = false;
  double reference_seconds = 0;    // in the model; 0 if all was in the cache
  int64_t n_reference_tokens = 0;  // run, not read from the cache
  // Of the reference's hidden states, compressed; 0 with a base file.
  int64_t hidden_bytes = 0;
  std::vector<ValidatedDomain> domains;
  std::vector<CandidateReport> candidates;
  // The original first, then the candidates.
  std::vector<TaskReport> tasks;
  // The worst of all candidates; none without a gate.
  std::optional<Verdict> verdict;
};

// What is being done, for a bar.
struct ValidationProgress {
  std::string model;  // its path, or "3 candidates"
  std::string what;   // the text's or task's name, or "weights"
  // Tokens; of "weights", whose windows are 0, pieces of work.
  ScoreProgress score;
};
using ValidationProgressFn = std::function<void(const ValidationProgress&)>;

// InvalidArgument for options that contradict, a text too short, or
// vocabularies that differ; errors of files and models with place and file.
// A damaged cache is a warning: it is computed anew.
absl::StatusOr<ValidationReport> Validate(const ValidationOptions& options,
                                          const ValidationProgressFn& progress);

}  // namespace narrow

#endif  // NARROW_VALIDATE_VALIDATION_H_
