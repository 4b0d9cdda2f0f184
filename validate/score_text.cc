#include "validate/score_text.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using Clock = std::chrono::steady_clock;

// Rows given to the output layer at once: many, since each call decodes its
// weights; not all, so that progress is seen in models that are mostly
// vocabulary.
constexpr int64_t kHeadRows = 4096;

// Makes scores of the rows of each group; see ScoreText.
class RowScorer {
 public:
  RowScorer(const ScoreOptions& options, ModelRunner* runner)
      : options_(options), runner_(runner) {}

  absl::Status Score(const ScoredRows& rows,
                     absl::FunctionRef<void(double)> done) {
    const int64_t width = runner_->hidden_size();
    const int64_t n_rows = rows.n_rows;
    std::vector<TokenScore> scores(static_cast<size_t>(n_rows));
    for (int64_t row = 0; row < n_rows; row += kHeadRows) {
      const int64_t n_slice = std::min(kHeadRows, n_rows - row);
      RETURN_IF_ERROR(runner_->LogProbs(rows.rows + row * width, n_slice,
                                        rows.targets.data() + row,
                                        scores.data() + row));
      done(static_cast<double>(n_slice) / static_cast<double>(n_rows));
    }
    RETURN_IF_ERROR(Keep(rows, scores));
    if (options_.reference != nullptr) {
      const int64_t n_done = static_cast<int64_t>(scores_.divergences.size());
      RETURN_IF_ERROR(AddDivergences(*options_.reference, n_done, rows.rows,
                                     n_rows, runner_, &scores_.divergences));
    }
    if (options_.keep_rows != nullptr) {
      options_.keep_rows->insert(options_.keep_rows->end(), rows.rows,
                                 rows.rows + n_rows * width);
    }
    return absl::OkStatus();
  }

  TextScores Take() { return std::move(scores_); }

 private:
  absl::Status Keep(const ScoredRows& rows,
                    absl::Span<const TokenScore> scores) {
    const absl::Span<const ScoredWindow> group = rows.windows;
    size_t i = 0;
    for (size_t w = 0; w < group.size(); ++w) {
      for (int64_t k = 0; k < group[w].n_scored(); ++k, ++i) {
        if (!std::isfinite(scores[i].log_prob)) {
          return absl::DataLossError(absl::StrCat(
              "the log-probability of token ", rows.targets[i], " is ",
              scores[i].log_prob, "; at position ", group[w].first_scored + k,
              " of window ", rows.first_window + w, " (token ",
              group[w].begin + group[w].first_scored + k, " of the text)"));
        }
        scores_.nll.push_back(-scores[i].log_prob);
        scores_.top_tokens.push_back(scores[i].top_token);
        scores_.is_top.push_back(scores[i].top_token == rows.targets[i]);
      }
      scores_.window_sizes.push_back(group[w].n_scored());
    }
    return absl::OkStatus();
  }

  const ScoreOptions& options_;
  ModelRunner* const runner_;
  TextScores scores_;
};

}  // namespace

absl::StatusOr<TextScores> ScoreText(const TextTokens& text,
                                     absl::Span<const ScoredWindow> windows,
                                     const ScoreOptions& options,
                                     ModelRunner* runner,
                                     const ScoreProgressFn& progress) {
  RowScorer scorer(options, runner);
  const Clock::time_point start = Clock::now();
  RETURN_IF_ERROR(RunWindows(
      text, windows, options.hidden_bytes, runner, progress,
      [&scorer](const ScoredRows& rows, absl::FunctionRef<void(double)> done) {
        return scorer.Score(rows, done);
      }));
  TextScores scores = scorer.Take();
  scores.n_run = TokensOf(windows);
  scores.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return scores;
}

}  // namespace narrow
