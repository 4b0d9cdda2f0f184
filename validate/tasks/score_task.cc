#include "validate/tasks/score_task.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using Clock = std::chrono::steady_clock;

// Rows given to the output layer at once: many, since each call decodes its
// weights; not all, for memory and progress.
constexpr int64_t kHeadRows = 4096;
// A group of so many tokens is worth decoding the weights for; a larger one
// takes only windows that waste less than an eighth of it.
constexpr int64_t kGroupTokens = 8192;

// A choice in a group, and where its scores go.
struct Pending {
  const TokenizedChoice* choice;
  ChoiceScore* score;
};

class TaskScorer {
 public:
  TaskScorer(const TokenizedTask& task, const TaskScoreOptions& options,
             ModelRunner* runner, const ScoreProgressFn& progress)
      : task_(task), options_(options), runner_(runner), progress_(progress) {
    state_.windows_total = static_cast<int64_t>(task.windows.size());
    state_.tokens_total = task.n_tokens;
  }

  absl::StatusOr<TaskScores> Run() {
    RETURN_IF_ERROR(CheckIds());
    start_ = Clock::now();
    Prepare();
    Report(0);
    for (size_t first = 0; first < order_.size();) {
      const size_t n = GroupSize(first);
      RETURN_IF_ERROR(RunGroup(first, n));
      first += n;
    }
    scores_.n_run = task_.n_tokens;
    scores_.seconds =
        std::chrono::duration<double>(Clock::now() - start_).count();
    return std::move(scores_);
  }

 private:
  absl::Status CheckIds() const {
    const int64_t n_vocab = runner_->vocab_size();
    const auto check = [n_vocab](absl::Span<const int32_t> ids) {
      for (int32_t id : ids) {
        if (id < 0 || id >= n_vocab) {
          return absl::InvalidArgumentError(
              absl::StrCat("a token of the task is number ", id,
                           " of the vocabulary, the model has ", n_vocab));
        }
      }
      return absl::OkStatus();
    };
    for (const auto& window : task_.windows) {
      RETURN_IF_ERROR(check(window));
    }
    for (const auto& question : task_.questions) {
      for (const TokenizedChoice& choice : question) {
        RETURN_IF_ERROR(check(choice.targets));
      }
    }
    return absl::OkStatus();
  }

  // Longest windows first, so that too little memory is found at once.
  void Prepare() {
    order_.resize(task_.windows.size());
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [this](size_t a, size_t b) {
      return task_.windows[a].size() > task_.windows[b].size();
    });
    choices_of_.resize(task_.windows.size());
    scores_.questions.resize(task_.questions.size());
    for (size_t q = 0; q < task_.questions.size(); ++q) {
      const auto& choices = task_.questions[q];
      scores_.questions[q].resize(choices.size());
      for (size_t c = 0; c < choices.size(); ++c) {
        choices_of_[choices[c].window].push_back(
            {&choices[c], &scores_.questions[q][c]});
      }
    }
  }

  int64_t Length(size_t place) const {
    return static_cast<int64_t>(task_.windows[order_[place]].size());
  }

  size_t GroupSize(size_t first) const {
    const int64_t longest = Length(first);
    const int64_t window_bytes =
        longest * runner_->hidden_size() * int64_t{sizeof(float)};
    const int64_t most =
        std::max<int64_t>(1, options_.hidden_bytes / window_bytes);
    size_t n = 1;
    while (first + n < order_.size() && static_cast<int64_t>(n) < most) {
      const int64_t n_tokens = static_cast<int64_t>(n) * longest;
      if (n_tokens >= kGroupTokens && 8 * Length(first + n) < 7 * longest) {
        break;
      }
      ++n;
    }
    return n;
  }

  absl::Status RunGroup(size_t first, size_t n) {
    const int64_t length = Length(first);
    std::vector<int32_t> ids;
    ids.reserve(n * static_cast<size_t>(length));
    group_tokens_ = 0;
    group_share_ = 0;
    int64_t n_rows = 0;
    for (size_t k = 0; k < n; ++k) {
      const auto& window = task_.windows[order_[first + k]];
      ids.insert(ids.end(), window.begin(), window.end());
      ids.resize((k + 1) * static_cast<size_t>(length), window.back());
      group_tokens_ += static_cast<int64_t>(window.size());
      for (const Pending& pending : choices_of_[order_[first + k]]) {
        n_rows += static_cast<int64_t>(pending.choice->targets.size());
      }
    }
    HiddenStates hidden;
    RETURN_IF_ERROR(runner_->Embed(ids, length, &hidden));
    // The output layer in units of a block, roughly; for progress alone.
    const double head_blocks =
        static_cast<double>(n_rows) / static_cast<double>(ids.size()) *
        static_cast<double>(runner_->vocab_size()) /
        (12.0 * static_cast<double>(runner_->hidden_size()));
    const double share =
        1 / (static_cast<double>(runner_->n_blocks()) + head_blocks);
    for (int64_t block = 0; block < runner_->n_blocks(); ++block) {
      RETURN_IF_ERROR(runner_->RunBlock(block, nullptr, &hidden));
      Report(share);
    }
    RETURN_IF_ERROR(runner_->FinalNorm(&hidden));
    RETURN_IF_ERROR(ScoreGroup(first, n, hidden, share * head_blocks, n_rows));
    state_.windows_done += static_cast<int64_t>(n);
    state_.tokens_done += group_tokens_;
    group_tokens_ = 0;
    Report(0);
    return absl::OkStatus();
  }

  // Gathers the rows about which choices ask, a slice at a time.
  absl::Status ScoreGroup(size_t first, size_t n, const HiddenStates& hidden,
                          double share, int64_t n_rows) {
    std::vector<Pending> pending;
    std::vector<float> rows;
    std::vector<int32_t> targets;
    for (size_t k = 0; k < n; ++k) {
      for (const Pending& one : choices_of_[order_[first + k]]) {
        const float* from =
            hidden.row(static_cast<int64_t>(k), one.choice->begin - 1);
        const int64_t n_targets =
            static_cast<int64_t>(one.choice->targets.size());
        rows.insert(rows.end(), from, from + n_targets * hidden.hidden_size);
        targets.insert(targets.end(), one.choice->targets.begin(),
                       one.choice->targets.end());
        pending.push_back(one);
        if (static_cast<int64_t>(targets.size()) >= kHeadRows) {
          Report(share * static_cast<double>(targets.size()) / n_rows);
          RETURN_IF_ERROR(ScoreRows(&pending, &rows, &targets));
        }
      }
    }
    return ScoreRows(&pending, &rows, &targets);
  }

  absl::Status ScoreRows(std::vector<Pending>* pending,
                         std::vector<float>* rows,
                         std::vector<int32_t>* targets) {
    if (targets->empty()) {
      return absl::OkStatus();
    }
    std::vector<TokenScore> scores(targets->size());
    RETURN_IF_ERROR(runner_->LogProbs(rows->data(),
                                      static_cast<int64_t>(targets->size()),
                                      targets->data(), scores.data()));
    const TokenScore* next = scores.data();
    for (const Pending& one : *pending) {
      RETURN_IF_ERROR(Sum(*one.choice, next, one.score));
      next += one.choice->targets.size();
    }
    pending->clear();
    rows->clear();
    targets->clear();
    return absl::OkStatus();
  }

  static absl::Status Sum(const TokenizedChoice& choice,
                          const TokenScore* scores, ChoiceScore* sum) {
    double different = 0;
    for (size_t i = 0; i < choice.targets.size(); ++i) {
      const double log_prob = scores[i].log_prob;
      if (!std::isfinite(log_prob)) {
        return absl::DataLossError(absl::StrCat("the log-probability of token ",
                                                choice.targets[i],
                                                " of a choice is ", log_prob));
      }
      sum->log_prob += i >= choice.first_own ? log_prob : 0;
      different += i >= choice.first_different ? log_prob : 0;
    }
    sum->token_mean = different / static_cast<double>(choice.targets.size() -
                                                      choice.first_different);
    return absl::OkStatus();
  }

  // `share` more of the present group's work is done.
  void Report(double share) {
    group_share_ += share;
    if (!progress_) {
      return;
    }
    ScoreProgress now = state_;
    now.tokens_done += static_cast<int64_t>(std::min(group_share_, 1.0) *
                                            static_cast<double>(group_tokens_));
    progress_(now);
  }

  const TokenizedTask& task_;
  const TaskScoreOptions& options_;
  ModelRunner* const runner_;
  const ScoreProgressFn& progress_;

  std::vector<size_t> order_;                     // of windows
  std::vector<std::vector<Pending>> choices_of_;  // by window
  TaskScores scores_;
  ScoreProgress state_;  // of whole groups
  Clock::time_point start_;
  int64_t group_tokens_ = 0;
  double group_share_ = 0;
};

}  // namespace

absl::StatusOr<TaskScores> ScoreTask(const TokenizedTask& task,
                                     const TaskScoreOptions& options,
                                     ModelRunner* runner,
                                     const ScoreProgressFn& progress) {
  return TaskScorer(task, options, runner, progress).Run();
}

}  // namespace narrow
