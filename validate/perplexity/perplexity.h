// The perplexity of one model, or of several on the same tokens.
//
//   PerplexityOptions options;
//   options.models = {"gemma-3-270m", "gemma-3-270m-Q4_K_M.gguf"};
//   options.texts = {"wiki.test.raw"};
//   ASSIGN_OR_RETURN(PerplexityReport report,
//                    MeasurePerplexity(options, progress));
//
// Models are run one after another, so memory is that of one (with
// `divergence`, also the first one's output matrix); all are opened
// and their vocabularies compared before the first is run, so that a wrong
// path costs no hour.

#ifndef NARROW_VALIDATE_PERPLEXITY_PERPLEXITY_H_
#define NARROW_VALIDATE_PERPLEXITY_PERPLEXITY_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "validate/perplexity/report.h"
#include "validate/score_text.h"
#include "validate/windows.h"

namespace narrow {

struct PerplexityOptions {
  // Directories or GGUF files. The first is the reference: the text is
  // tokenized by it, and the others are compared with it.
  std::vector<std::string> models;
  std::vector<std::string> texts;
  WindowSettings windows;
  CheckpointOptions checkpoint;
  RunnerOptions runner;
  ScoreOptions score;
  // Also the KL divergence of every other model from the first, whose output
  // matrix is then kept open beside theirs.
  bool divergence = false;
  // Also what each scored token came to.
  bool token_scores = false;
};

// `model` counts from 0 in options.models.
using PerplexityProgressFn =
    std::function<void(size_t model, const ScoreProgress& progress)>;

// InvalidArgument for options out of range, a text too short, or vocabularies
// that differ; errors of files and models with their place and file.
absl::StatusOr<PerplexityReport> MeasurePerplexity(
    const PerplexityOptions& options, const PerplexityProgressFn& progress);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PERPLEXITY_PERPLEXITY_H_
