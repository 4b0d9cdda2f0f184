#include "validate/reference/compare_pass.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Compares the rows of each group; see CompareWindows.
class RowComparer {
 public:
  RowComparer(const ComparePassOptions& options, ModelRunner* runner,
              Reference* reference, PairedScores* scores)
      : options_(options),
        runner_(runner),
        reference_(reference),
        scores_(scores) {}

  absl::Status Compare(const ScoredRows& rows,
                       absl::FunctionRef<void(double)> done) {
    const size_t first = scores_->tokens.size();
    const int64_t n_vocab = runner_->vocab_size();
    const int64_t slice = SliceRows(rows.n_rows);
    logits_.resize(static_cast<size_t>(slice * n_vocab));
    scores_->tokens.resize(first + static_cast<size_t>(rows.n_rows));
    for (int64_t row = 0; row < rows.n_rows; row += slice) {
      const int64_t n = std::min(slice, rows.n_rows - row);
      RETURN_IF_ERROR(runner_->Logits(rows.rows + row * runner_->hidden_size(),
                                      n, logits_.data()));
      const size_t at = first + static_cast<size_t>(row);
      RETURN_IF_ERROR(reference_->Compare(
          static_cast<int64_t>(at),
          rows.targets.subspan(static_cast<size_t>(row),
                               static_cast<size_t>(n)),
          logits_.data(), n_vocab, scores_->tokens.data() + at));
      done(static_cast<double>(n) / static_cast<double>(rows.n_rows));
    }
    return Keep(rows, first);
  }

 private:
  int64_t SliceRows(int64_t n_rows) const {
    const int64_t row_bytes =
        runner_->vocab_size() * static_cast<int64_t>(sizeof(float)) +
        reference_->row_bytes();
    return std::max<int64_t>(
        1, std::min(n_rows, options_.logits_bytes / row_bytes));
  }

  absl::Status Keep(const ScoredRows& rows, size_t first) {
    for (const ScoredWindow& window : rows.windows) {
      for (int64_t k = 0; k < window.n_scored(); ++k, ++first) {
        const TokenComparison& token = scores_->tokens[first];
        if (!std::isfinite(token.candidate_nll) ||
            !std::isfinite(token.reference_nll) ||
            !std::isfinite(token.divergence)) {
          return absl::DataLossError(absl::StrCat(
              "the log-probability of a token is ", -token.candidate_nll,
              ", the reference's is ", -token.reference_nll,
              ", the divergence ", token.divergence, "; at position ",
              window.first_scored + k, " of window ",
              scores_->window_sizes.size(), " (token ",
              window.begin + window.first_scored + k, " of the text)"));
        }
      }
      scores_->window_sizes.push_back(window.n_scored());
    }
    return absl::OkStatus();
  }

  const ComparePassOptions& options_;
  ModelRunner* const runner_;
  Reference* const reference_;
  PairedScores* const scores_;
  std::vector<float> logits_;
};

}  // namespace

absl::Status CompareWindows(const TextTokens& text,
                            absl::Span<const ScoredWindow> windows, int64_t end,
                            const ComparePassOptions& options,
                            ModelRunner* runner, Reference* reference,
                            const ScoreProgressFn& progress,
                            PairedScores* scores) {
  const size_t first = scores->window_sizes.size();
  RowComparer comparer(options, runner, reference, scores);
  return RunWindows(
      text, windows.subspan(first, static_cast<size_t>(end) - first),
      options.hidden_bytes, runner, progress,
      [&](const ScoredRows& rows, absl::FunctionRef<void(double)> done) {
        return comparer.Compare(rows, done);
      });
}

}  // namespace narrow
