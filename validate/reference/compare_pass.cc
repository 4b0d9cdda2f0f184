#include "validate/reference/compare_pass.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kFloatBytes = sizeof(float);

// See CompareWindows.
class ComparePass {
 public:
  ComparePass(const TextTokens& text, absl::Span<const ScoredWindow> windows,
              const ComparePassOptions& options, Reference* reference,
              const ScoreProgressFn& progress, absl::Span<ComparedModel> models)
      : text_(text),
        windows_(windows),
        options_(options),
        reference_(reference),
        progress_(progress),
        models_(models),
        n_models_(static_cast<int64_t>(models.size())),
        states_(models.size()) {}

  absl::Status Run(size_t first, size_t end) {
    state_.windows_total = static_cast<int64_t>(end - first);
    state_.tokens_total = TokensOf(windows_.subspan(first, end - first));
    Report(0);
    while (first < end) {
      const size_t n = std::min(end - first, GroupWindows(first, end));
      RETURN_IF_ERROR(RunGroup(first, windows_.subspan(first, n)));
      first += n;
    }
    return absl::OkStatus();
  }

 private:
  int64_t hidden_bytes() const { return options_.hidden_bytes / n_models_; }

  // Windows from `first` on whose hidden states fit into a candidate's share
  // of the memory.
  size_t GroupWindows(size_t first, size_t end) const {
    int64_t width = 1;
    for (const ComparedModel& model : models_) {
      width = std::max(width, model.runner->hidden_size());
    }
    int64_t n_tokens = 1;
    for (size_t w = first; w < end; ++w) {
      n_tokens = std::max(n_tokens, windows_[w].n_tokens);
    }
    return static_cast<size_t>(std::max<int64_t>(
        1, hidden_bytes() / (n_tokens * width * kFloatBytes)));
  }

  absl::Status RunGroup(size_t first, absl::Span<const ScoredWindow> group) {
    group_tokens_ = TokensOf(group);
    const double head = HeadShare(*models_[0].runner, group[0]);
    for (size_t m = 0; m < models_.size(); ++m) {
      RETURN_IF_ERROR(NameErrors(m, RunModel(m, first, group, 1 - head)));
    }
    RETURN_IF_ERROR(CompareRows(head));
    for (size_t m = 0; m < models_.size(); ++m) {
      RETURN_IF_ERROR(NameErrors(m, Keep(m, group)));
      Forget(m);
    }
    state_.windows_done += static_cast<int64_t>(group.size());
    state_.tokens_done += group_tokens_;
    return absl::OkStatus();
  }

  absl::Status NameErrors(size_t m, const absl::Status& status) const {
    return Annotate(status, absl::StrCat("measuring ", models_[m].name));
  }

  // A candidate by itself keeps its weights for the next group.
  void Forget(size_t m) {
    if (n_models_ > 1) {
      models_[m].runner->ForgetWeights();
    }
  }

  // The final hidden states of a candidate's scored positions, `share` of the
  // group's work.
  absl::Status RunModel(size_t m, size_t first,
                        absl::Span<const ScoredWindow> group, double share) {
    const Clock::time_point start = Clock::now();
    ModelRunner* const runner = models_[m].runner;
    std::vector<float>& states = states_[m];
    states.clear();
    targets_.clear();
    const absl::Status status = RunWindows(
        text_, group, hidden_bytes(), runner,
        [&](const ScoreProgress& now) {
          Report(share *
                 (static_cast<double>(m) * static_cast<double>(group_tokens_) +
                  static_cast<double>(now.tokens_done)) /
                 static_cast<double>(n_models_));
        },
        [&](const ScoredRows& rows, absl::FunctionRef<void(double)>) {
          states.insert(states.end(), rows.rows,
                        rows.rows + rows.n_rows * runner->hidden_size());
          targets_.insert(targets_.end(), rows.targets.begin(),
                          rows.targets.end());
          return absl::OkStatus();
        });
    Forget(m);
    models_[m].seconds += SecondsSince(start);
    return first == 0 ? status
                      : Annotate(status, absl::StrCat("in windows from ", first,
                                                      " on of the text"));
  }

  // All candidates' positions of the group, slice by slice; `share` of the
  // group's work.
  absl::Status CompareRows(double share) {
    const int64_t n_rows = static_cast<int64_t>(targets_.size());
    const int64_t slice = SliceRows(n_rows);
    first_token_ = models_[0].scores->tokens.size();
    for (const ComparedModel& model : models_) {
      assert(model.scores->tokens.size() == first_token_);
      model.scores->tokens.resize(first_token_ + targets_.size());
    }
    for (int64_t row = 0; row < n_rows; row += slice) {
      const int64_t n = std::min(slice, n_rows - row);
      RETURN_IF_ERROR(reference_->Load(
          static_cast<int64_t>(first_token_) + row,
          absl::MakeConstSpan(targets_).subspan(static_cast<size_t>(row),
                                                static_cast<size_t>(n))));
      for (size_t m = 0; m < models_.size(); ++m) {
        RETURN_IF_ERROR(NameErrors(m, CompareSlice(m, row, n)));
      }
      Report(
          (1 - share +
           share * static_cast<double>(row + n) / static_cast<double>(n_rows)) *
          static_cast<double>(group_tokens_));
    }
    return absl::OkStatus();
  }

  absl::Status CompareSlice(size_t m, int64_t row, int64_t n) {
    const Clock::time_point start = Clock::now();
    ModelRunner* const runner = models_[m].runner;
    const float* const states = states_[m].data() + row * runner->hidden_size();
    TokenComparison* const results =
        models_[m].scores->tokens.data() + first_token_ + row;
    ASSIGN_OR_RETURN(const bool there,
                     reference_->CompareThere(states, runner, results));
    if (!there) {
      logits_.resize(static_cast<size_t>(n * runner->vocab_size()));
      RETURN_IF_ERROR(runner->Logits(states, n, logits_.data()));
    }
    models_[m].seconds += SecondsSince(start);
    if (!KeepsOutput(m)) {
      Forget(m);
    }
    return there ? absl::OkStatus()
                 : reference_->Compare(logits_.data(), runner->vocab_size(),
                                       results);
  }

  // Whether a candidate's decoded output matrix is among those kept.
  bool KeepsOutput(size_t m) const {
    int64_t n_bytes = 0;
    for (size_t i = 0; i <= m; ++i) {
      n_bytes += models_[i].runner->vocab_size() *
                 models_[i].runner->hidden_size() * kFloatBytes;
    }
    return n_bytes <= options_.output_bytes;
  }

  int64_t SliceRows(int64_t n_rows) const {
    int64_t n_vocab = 1;
    for (const ComparedModel& model : models_) {
      n_vocab = std::max(n_vocab, model.runner->vocab_size());
    }
    const int64_t row_bytes = n_vocab * kFloatBytes + reference_->row_bytes();
    return std::max<int64_t>(
        1, std::min(n_rows, options_.logits_bytes / row_bytes));
  }

  // The group's windows become a candidate's.
  absl::Status Keep(size_t m, absl::Span<const ScoredWindow> group) {
    PairedScores* const scores = models_[m].scores;
    size_t at = first_token_;
    for (const ScoredWindow& window : group) {
      for (int64_t k = 0; k < window.n_scored(); ++k, ++at) {
        const TokenComparison& token = scores->tokens[at];
        if (!std::isfinite(token.candidate_nll) ||
            !std::isfinite(token.reference_nll) ||
            !std::isfinite(token.divergence)) {
          return absl::DataLossError(absl::StrCat(
              "the log-probability of a token is ", -token.candidate_nll,
              ", the reference's is ", -token.reference_nll,
              ", the divergence ", token.divergence, "; at position ",
              window.first_scored + k, " of window ",
              scores->window_sizes.size(), " (token ",
              window.begin + window.first_scored + k, " of the text)"));
        }
      }
      scores->window_sizes.push_back(window.n_scored());
    }
    return absl::OkStatus();
  }

  static double SecondsSince(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  // `tokens` of the group's are done, counted by the work of all candidates.
  void Report(double tokens) {
    if (progress_) {
      ScoreProgress now = state_;
      now.tokens_done += std::min(group_tokens_, static_cast<int64_t>(tokens));
      progress_(now);
    }
  }

  const TextTokens& text_;
  const absl::Span<const ScoredWindow> windows_;
  const ComparePassOptions& options_;
  Reference* const reference_;
  const ScoreProgressFn& progress_;
  const absl::Span<ComparedModel> models_;
  const int64_t n_models_;

  // Of the present group.
  std::vector<std::vector<float>> states_;  // of each candidate
  std::vector<int32_t> targets_;
  size_t first_token_ = 0;  // in every candidate's scores
  int64_t group_tokens_ = 0;
  std::vector<float> logits_;
  ScoreProgress state_;  // of whole groups
};

}  // namespace

absl::Status CompareWindows(const TextTokens& text,
                            absl::Span<const ScoredWindow> windows, int64_t end,
                            const ComparePassOptions& options,
                            Reference* reference,
                            const ScoreProgressFn& progress,
                            absl::Span<ComparedModel> models) {
  assert(!models.empty());
  return ComparePass(text, windows, options, reference, progress, models)
      .Run(models[0].scores->window_sizes.size(), static_cast<size_t>(end));
}

}  // namespace narrow
