#include "validate/perplexity/perplexity.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "validate/summary.h"
#include "validate/text.h"

namespace narrow {
namespace {

// One measurement; see MeasurePerplexity.
class Measurement {
 public:
  Measurement(const PerplexityOptions& options,
              const PerplexityProgressFn& progress)
      : options_(options),
        progress_(progress),
        pool_(options.runner.n_threads) {}

  absl::StatusOr<PerplexityReport> Run() {
    RETURN_IF_ERROR(Prepare());
    for (size_t i = 0; i < options_.models.size(); ++i) {
      RETURN_IF_ERROR(Annotate(RunModel(i),
                               absl::StrCat("measuring ", options_.models[i])));
    }
    return std::move(report_);
  }

 private:
  // Everything that can be wrong before a model runs.
  absl::Status Prepare() {
    if (options_.models.empty() || options_.texts.empty()) {
      return absl::InvalidArgumentError(
          "a model and a text are needed to measure perplexity");
    }
    RETURN_IF_ERROR(CheckWindowSettings(options_.windows));
    report_.windows = options_.windows;
    report_.precision = options_.runner.precision;
    report_.device = DeviceName(options_.runner.device);
    report_.n_threads = options_.runner.n_threads < 1
                            ? NumProcessors()
                            : options_.runner.n_threads;
    ASSIGN_OR_RETURN(const JudgedText text, ReadText(options_.texts));
    report_.text_paths = options_.texts;
    report_.text_bytes = text.text.size();
    report_.warnings = text.warnings;

    ASSIGN_OR_RETURN(first_, Open(0));
    for (size_t i = 1; i < options_.models.size(); ++i) {
      ASSIGN_OR_RETURN(const auto candidate, Open(i));
      RETURN_IF_ERROR(CheckSameVocabulary(*first_, *candidate));
    }
    return Tokenize(*first_, text.text);
  }

  absl::Status Tokenize(const Checkpoint& reference, absl::string_view text) {
    const WindowSettings& settings = options_.windows;
    ASSIGN_OR_RETURN(tokens_, TokenizeText(reference, settings.protocol, text));
    report_.n_text_tokens = tokens_.ids.size();
    report_.windows_begin_with_bos = tokens_.window_bos.has_value();
    auto windows = PlanWindows(report_.n_text_tokens, settings);
    if (!windows.ok()) {
      return Annotate(windows.status(),
                      absl::StrCat("reading ", options_.texts.front()));
    }
    windows_ = *std::move(windows);
    if (options_.token_scores) {
      ReportTokens();
    }
    return absl::OkStatus();
  }

  void ReportTokens() {
    for (const ScoredWindow& window : windows_) {
      const auto begin = tokens_.ids.begin() + window.begin;
      std::vector<int32_t> ids(begin, begin + window.n_tokens);
      if (tokens_.window_bos) {
        ids[0] = *tokens_.window_bos;
      }
      report_.window_tokens.push_back(std::move(ids));
      report_.window_first_scored.push_back(window.first_scored);
    }
  }

  absl::StatusOr<std::unique_ptr<Checkpoint>> Open(size_t i) const {
    return Checkpoint::Open(options_.models[i], options_.checkpoint);
  }

  absl::Status RunModel(size_t i) {
    std::unique_ptr<Checkpoint> model = std::move(first_);
    if (model == nullptr) {
      ASSIGN_OR_RETURN(model, Open(i));
    }
    WarnOfContext(*model);
    ASSIGN_OR_RETURN(auto runner,
                     ModelRunner::Create(model.get(), options_.runner));
    ScoreProgressFn score_progress;
    if (progress_) {
      score_progress = [this, i](const ScoreProgress& p) { progress_(i, p); };
    }
    ScoreOptions score = options_.score;
    if (options_.divergence && options_.models.size() > 1) {
      score.keep_rows = i == 0 ? &reference_rows_ : nullptr;
      score.reference = i == 0 ? nullptr : &*divergence_;
    }
    ASSIGN_OR_RETURN(
        TextScores scores,
        ScoreText(tokens_, windows_, score, runner.get(), score_progress));
    AddReport(*model, scores);
    if (i == 0) {
      reference_ = std::move(scores);
      if (score.keep_rows != nullptr) {
        KeepReference(std::move(model), std::move(runner));
      }
    }
    return absl::OkStatus();
  }

  void KeepReference(std::unique_ptr<Checkpoint> model,
                     std::unique_ptr<ModelRunner> runner) {
    runner->ForgetWeights();  // of its blocks, which are not needed again
    reference_model_ = std::move(model);
    reference_runner_ = std::move(runner);
    divergence_ =
        DivergenceReference{reference_runner_.get(), &reference_rows_, &pool_};
  }

  // A model is measured beyond its context on request, as llama-perplexity
  // does, but the figure says little.
  void WarnOfContext(const Checkpoint& model) {
    const int64_t trained = model.config().context_length;
    if (trained > 0 && options_.windows.context > trained) {
      report_.warnings.push_back(
          absl::StrCat("windows have ", options_.windows.context,
                       " tokens, the model was made for ", trained,
                       "; measuring ", model.path()));
    }
  }

  void AddReport(const Checkpoint& model, const TextScores& scores) {
    ModelReport report;
    report.path = model.path();
    for (const CheckpointTensor& tensor : model.tensors()) {
      report.tensor_bytes += model.StoredBytes(tensor);
      report.n_weights += tensor.meta.n_elements();
    }
    report.summary = Summarize(scores);
    report.seconds = scores.seconds;
    report.tokens_per_second =
        static_cast<double>(scores.n_run) / scores.seconds;
    if (!report_.models.empty()) {
      report.paired = Compare(reference_, scores);
    }
    if (options_.token_scores) {
      report.token_nll = scores.nll;
      report.token_divergence = scores.divergences;
    }
    report_.models.push_back(std::move(report));
  }

  const PerplexityOptions& options_;
  const PerplexityProgressFn& progress_;
  PerplexityReport report_;
  std::unique_ptr<Checkpoint> first_;  // from Prepare until it has run
  TextTokens tokens_;
  std::vector<ScoredWindow> windows_;
  TextScores reference_;
  // For divergences: what is needed to compute the first model's logits.
  std::vector<float> reference_rows_;
  std::unique_ptr<Checkpoint> reference_model_;
  std::unique_ptr<ModelRunner> reference_runner_;
  ThreadPool pool_;
  std::optional<DivergenceReference> divergence_;
};

}  // namespace

absl::StatusOr<PerplexityReport> MeasurePerplexity(
    const PerplexityOptions& options, const PerplexityProgressFn& progress) {
  return Measurement(options, progress).Run();
}

}  // namespace narrow
