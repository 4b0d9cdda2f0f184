#include "validate/reference/window_pass.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/device.h"

namespace narrow {
namespace {

// See RunWindows.
class WindowPass {
 public:
  WindowPass(const TextTokens& text, absl::Span<const ScoredWindow> windows,
             int64_t hidden_bytes, ModelRunner* runner,
             const ScoreProgressFn& progress, RowSink sink)
      : text_(text),
        windows_(windows),
        hidden_bytes_(hidden_bytes),
        runner_(runner),
        progress_(progress),
        sink_(sink) {
    state_.tokens_total = TokensOf(windows);
    state_.windows_total = static_cast<int64_t>(windows.size());
  }

  absl::Status Run() {
    RETURN_IF_ERROR(CheckIds());
    Report(0);
    size_t first = 0;
    while (first < windows_.size()) {
      const size_t n = GroupSize(first);
      const absl::Status status = RunSmallerGroups(first, n);
      // The runner counts the windows that it was given.
      RETURN_IF_ERROR(
          first == 0 ? status
                     : Annotate(status, absl::StrCat("in a group that begins "
                                                     "with window ",
                                                     first, " of the text")));
      first += n;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CheckIds() const {
    const int64_t n_vocab = runner_->vocab_size();
    int64_t position = 0;
    for (int32_t id : text_.ids) {
      if (id < 0 || id >= n_vocab) {
        return absl::InvalidArgumentError(
            absl::StrCat("token ", position, " of the text is number ", id,
                         " of the vocabulary, the model has ", n_vocab));
      }
      ++position;
    }
    if (text_.window_bos &&
        (*text_.window_bos < 0 || *text_.window_bos >= n_vocab)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the BOS token is number ", *text_.window_bos,
                       " of the vocabulary, the model has ", n_vocab));
    }
    return absl::OkStatus();
  }

  // Windows from `first` on that are of one length and fit into the memory.
  size_t GroupSize(size_t first) const {
    const int64_t n_tokens = windows_[first].n_tokens;
    const int64_t window_bytes =
        n_tokens * runner_->hidden_size() * int64_t{sizeof(float)};
    const int64_t most = std::max<int64_t>(
        1, hidden_bytes_ / std::max<int64_t>(1, window_bytes));
    size_t n = 1;
    while (first + n < windows_.size() && static_cast<int64_t>(n) < most &&
           windows_[first + n].n_tokens == n_tokens) {
      ++n;
    }
    return n;
  }

  // A group, or where memory is short its windows in smaller ones.
  absl::Status RunSmallerGroups(size_t first, size_t n) {
    const size_t begin = first;
    const size_t end = first + n;
    while (first < end) {
      const auto left = static_cast<int64_t>(end - first);
      const auto wanted = std::min(left, most_windows_);
      HiddenStates hidden;
      ASSIGN_OR_RETURN(
          const int64_t n_run,
          WithSmallerBatches(
              wanted, 1,
              [&](int64_t some) {
                hidden = HiddenStates();
                hidden.first_window = static_cast<int64_t>(first - begin);
                return RunBlocks(windows_.subspan(first, some), &hidden);
              },
              [&](int64_t some, absl::string_view why) {
                most_windows_ = some;
                runner_->Note(absl::StrCat("going on with ", some,
                                           " windows at once: ", why));
              }));
      RETURN_IF_ERROR(FinishGroup(first, static_cast<size_t>(n_run), &hidden));
      first += static_cast<size_t>(n_run);
    }
    return absl::OkStatus();
  }

  absl::Status RunBlocks(absl::Span<const ScoredWindow> group,
                         HiddenStates* hidden) {
    const int64_t n_tokens = group[0].n_tokens;
    group_tokens_ = n_tokens * static_cast<int64_t>(group.size());
    group_share_ = 0;
    RETURN_IF_ERROR(runner_->Embed(GroupIds(group), n_tokens, hidden));
    const double block_share = (1 - HeadShare(*runner_, group[0])) /
                               static_cast<double>(runner_->n_blocks());
    for (int64_t block = 0; block < runner_->n_blocks(); ++block) {
      RETURN_IF_ERROR(runner_->RunBlock(block, nullptr, hidden));
      Report(block_share);
    }
    return runner_->Fetch(hidden);
  }

  absl::Status FinishGroup(size_t first, size_t n, HiddenStates* states) {
    HiddenStates& hidden = *states;
    const absl::Span<const ScoredWindow> group = windows_.subspan(first, n);
    const std::vector<int32_t> ids = GroupIds(group);
    const double head_share = HeadShare(*runner_, group[0]);
    const std::vector<int32_t> targets = KeepScoredRows(group, ids, &hidden);
    RETURN_IF_ERROR(runner_->FinalNorm(&hidden));
    ScoredRows rows;
    rows.first_window = first;
    rows.windows = group;
    rows.rows = hidden.values.data();
    rows.n_rows = static_cast<int64_t>(targets.size());
    rows.targets = targets;
    RETURN_IF_ERROR(
        sink_(rows, [&](double share) { Report(share * head_share); }));

    state_.windows_done += static_cast<int64_t>(n);
    state_.tokens_done += group_tokens_;
    group_tokens_ = 0;
    Report(0);
    return absl::OkStatus();
  }

  std::vector<int32_t> GroupIds(absl::Span<const ScoredWindow> group) const {
    std::vector<int32_t> ids;
    ids.reserve(group_tokens_);
    for (const ScoredWindow& window : group) {
      const auto begin = text_.ids.begin() + window.begin;
      ids.insert(ids.end(), begin, begin + window.n_tokens);
      if (text_.window_bos) {
        ids[ids.size() - window.n_tokens] = *text_.window_bos;
      }
    }
    return ids;
  }

  // Moves the rows whose output is scored together, to the front, and returns
  // the token that each should predict.
  std::vector<int32_t> KeepScoredRows(absl::Span<const ScoredWindow> group,
                                      absl::Span<const int32_t> ids,
                                      HiddenStates* hidden) const {
    std::vector<int32_t> targets;
    const int64_t width = hidden->hidden_size;
    float* to = hidden->values.data();
    int64_t window_index = 0;
    for (const ScoredWindow& window : group) {
      // The output at position i - 1 is about token i.
      std::memmove(to, hidden->row(window_index, window.first_scored - 1),
                   window.n_scored() * width * sizeof(float));
      to += window.n_scored() * width;
      const auto window_ids =
          ids.subspan(window_index * window.n_tokens, window.n_tokens)
              .subspan(window.first_scored);
      targets.insert(targets.end(), window_ids.begin(), window_ids.end());
      ++window_index;
    }
    hidden->n_windows = 1;
    hidden->window_tokens = targets.size();
    hidden->values.resize(targets.size() * width);
    return targets;
  }

  // `share` more of the present group's work is done.
  void Report(double share) {
    group_share_ += share;
    if (!progress_) {
      return;
    }
    ScoreProgress now = state_;
    now.tokens_done +=
        static_cast<int64_t>(std::min(group_share_, 1.0) * group_tokens_);
    progress_(now);
  }

  const TextTokens& text_;
  const absl::Span<const ScoredWindow> windows_;
  const int64_t hidden_bytes_;
  ModelRunner* const runner_;
  const ScoreProgressFn& progress_;
  const RowSink sink_;

  ScoreProgress state_;  // of whole groups
  int64_t group_tokens_ = 0;
  double group_share_ = 0;
  // Windows that a runner's memory has allowed at once.
  int64_t most_windows_ = std::numeric_limits<int64_t>::max();
};

}  // namespace

absl::Status RunWindows(const TextTokens& text,
                        absl::Span<const ScoredWindow> windows,
                        int64_t hidden_bytes, ModelRunner* runner,
                        const ScoreProgressFn& progress, RowSink sink) {
  return WindowPass(text, windows, hidden_bytes, runner, progress, sink).Run();
}

double HeadShare(const ModelRunner& runner, const ScoredWindow& window) {
  const double scored = static_cast<double>(window.n_scored()) /
                        static_cast<double>(window.n_tokens);
  const double head_blocks = scored * static_cast<double>(runner.vocab_size()) /
                             (12.0 * static_cast<double>(runner.hidden_size()));
  return head_blocks / (static_cast<double>(runner.n_blocks()) + head_blocks);
}

int64_t TokensOf(absl::Span<const ScoredWindow> windows) {
  int64_t n_tokens = 0;
  for (const ScoredWindow& window : windows) {
    n_tokens += window.n_tokens;
  }
  return n_tokens;
}

}  // namespace narrow
