// Tested by: collect_importance_test.

#include "calibration/importance/collect_importance.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "calibration/importance/importance_collector.h"
#include "calibration/importance/importance_state.h"
#include "formats/base/file.h"
#include "formats/base/hash/fingerprint.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "kernels/cpu.h"
#include "kernels/device.h"

namespace narrow {
namespace {

using Clock = std::chrono::steady_clock;

// The first group, whose time says how many windows the others may have.
constexpr int64_t kFirstGroup = 8;
// Rows given to the output layer at once: many, since each call decodes its
// weights.
constexpr int64_t kHeadRows = 4096;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Of everything that the sums depend on. Of the weights, three rows a tensor:
// all would take as long as a window, and another model differs in any.
absl::StatusOr<uint64_t> FingerprintOf(const Checkpoint& model,
                                       absl::Span<const int32_t> ids,
                                       std::optional<int32_t> window_bos,
                                       const ImportanceOptions& options) {
  Fingerprint print;
  print.Add(model.config().arch);
  for (const CheckpointTensor& tensor : model.tensors()) {
    print.Add(tensor.meta.name);
    print.Add(TypeName(tensor.stored));
    print.Add(TypeName(tensor.meta.type));
    for (const int64_t size : tensor.meta.shape) {
      print.Add(size);
    }
    const int64_t n_rows = tensor.meta.n_rows();
    for (const int64_t row : {int64_t{0}, n_rows / 2, n_rows - 1}) {
      if (row < 0 || row >= n_rows) {
        continue;
      }
      if (!model.HasBytes(tensor)) {
        std::vector<float> values(static_cast<size_t>(tensor.meta.n_cols()));
        RETURN_IF_ERROR(model.DecodeRows(tensor, row, 1, values.data()));
        print.Add(
            absl::string_view(reinterpret_cast<const char*>(values.data()),
                              values.size() * sizeof(float)));
      } else {
        const absl::Span<const uint8_t> bytes = model.RowBytes(tensor, row);
        print.Add(absl::string_view(reinterpret_cast<const char*>(bytes.data()),
                                    bytes.size()));
      }
    }
  }
  for (const int32_t id : ids) {
    print.Add(int64_t{id});
  }
  print.Add(window_bos.has_value() ? int64_t{*window_bos} : -1);
  print.Add(options.window_tokens);
  print.Add(options.output_matrix ? 1 : 0);
  print.Add(options.perplexity ? 1 : 0);
  print.Add(static_cast<int64_t>(options.runner.precision));
  // Products differ between processors.
  print.Add(IsaName(CpuIsa()));
  print.Add(CpuHasBf16Products() ? 1 : 0);
  return print.value();
}

// One pass of a model over a text; see CollectImportance.
class Collection {
 public:
  Collection(const Checkpoint& model, absl::Span<const int32_t> ids,
             std::optional<int32_t> window_bos,
             const ImportanceOptions& options,
             const ImportanceProgressFn& progress)
      : model_(model),
        ids_(ids),
        window_bos_(window_bos),
        options_(options),
        progress_(progress),
        n_windows_(static_cast<int64_t>(ids.size()) / options.window_tokens),
        pool_(options.runner.n_threads),
        collector_(&model, &pool_, options.window_tokens,
                   options.first_window) {}

  absl::StatusOr<CollectedImportance> Run() {
    RETURN_IF_ERROR(CheckIds());
    ASSIGN_OR_RETURN(runner_, ModelRunner::Create(&model_, options_.runner));
    ASSIGN_OR_RETURN(state_.fingerprint,
                     FingerprintOf(model_, ids_, window_bos_, options_));
    RETURN_IF_ERROR(Resume());
    start_ = saved_ = Clock::now();
    Report(0);
    while (state_.n_windows < n_windows_) {
      HiddenStates hidden;
      ASSIGN_OR_RETURN(const int64_t n, EmbedGroup(GroupSize(), &hidden));
      RETURN_IF_ERROR(RunGroup(n, &hidden));
      n_run_ += n;
      state_.n_windows += n;
      Report(0);
      RETURN_IF_ERROR(MaybeSave());
    }
    result_.seconds = SecondsSince(start_);
    result_.sums = collector_.Collection();
    result_.sums.n_chunks = n_windows_;
    if (options_.perplexity) {
      AddPerplexity();
    }
    return std::move(result_);
  }

 private:
  absl::Status CheckIds() const {
    if (options_.window_tokens < 1 || n_windows_ < 1 ||
        n_windows_ * options_.window_tokens !=
            static_cast<int64_t>(ids_.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat(ids_.size(), " tokens are no whole windows of ",
                       options_.window_tokens));
    }
    const int64_t n_vocab = model_.config().vocab_size;
    const auto bad =
        std::find_if(ids_.begin(), ids_.end(),
                     [n_vocab](int32_t id) { return id < 0 || id >= n_vocab; });
    const bool bad_bos = window_bos_.has_value() &&
                         (*window_bos_ < 0 || *window_bos_ >= n_vocab);
    if (bad != ids_.end() || bad_bos) {
      return absl::InvalidArgumentError(absl::StrCat(
          bad_bos ? std::string("the BOS token")
                  : absl::StrCat("token ", bad - ids_.begin(), " of the text"),
          " is number ", bad_bos ? *window_bos_ : *bad,
          " of the vocabulary, the model has ", n_vocab));
    }
    return absl::OkStatus();
  }

  // Goes on from the state of a stopped run, if there is one of this run.
  absl::Status Resume() {
    if (options_.state_path.empty() || !FileExists(options_.state_path)) {
      return absl::OkStatus();
    }
    auto state = ReadImportanceState(options_.state_path);
    if (absl::IsInvalidArgument(state.status())) {
      return state.status();
    }
    if (!state.ok()) {
      result_.warnings.push_back(
          absl::StrCat(state.status().message(), "; collection starts anew"));
    } else if (state->fingerprint != state_.fingerprint ||
               state->n_windows > n_windows_) {
      result_.warnings.push_back(absl::StrCat(
          options_.state_path,
          " is of a run with another model, text or options; collection "
          "starts anew"));
    } else {
      collector_.Restore(std::move(state->shared));
      state->shared.clear();
      state_ = *std::move(state);
      result_.n_resumed = n_saved_ = state_.n_windows;
    }
    return absl::OkStatus();
  }

  int64_t GroupSize() const {
    // Experts add their results in a second array of this size.
    const int64_t n_arrays = model_.config().n_experts > 0 ? 2 : 1;
    const int64_t window_bytes = options_.window_tokens *
                                 runner_->hidden_size() * n_arrays *
                                 static_cast<int64_t>(sizeof(float));
    int64_t n = std::max<int64_t>(1, options_.hidden_bytes / window_bytes);
    if (options_.group_windows > 0) {
      n = std::min(n, options_.group_windows);
    } else if (n_run_ == 0) {
      n = std::min(n, kFirstGroup);
    } else {
      const double rate = static_cast<double>(n_run_) / SecondsSince(start_);
      const double timely = std::min(rate * options_.save_seconds, 1e6);
      n = std::min(n, std::max(kFirstGroup, static_cast<int64_t>(timely)));
    }
    return std::min(n, n_windows_ - state_.n_windows);
  }

  std::vector<int32_t> GroupIds(int64_t n) const {
    const int64_t width = options_.window_tokens;
    std::vector<int32_t> ids(ids_.begin() + state_.n_windows * width,
                             ids_.begin() + (state_.n_windows + n) * width);
    for (int64_t w = 0; window_bos_.has_value() && w < n; ++w) {
      ids[static_cast<size_t>(w * width)] = *window_bos_;
    }
    return ids;
  }

  // The next n windows, or fewer where memory is short: how many.
  absl::StatusOr<int64_t> EmbedGroup(int64_t n, HiddenStates* hidden) {
    return WithSmallerBatches(
        std::min(n, most_windows_), 1,
        [&](int64_t some) {
          *hidden = HiddenStates();
          hidden->first_window = options_.first_window + state_.n_windows;
          return runner_->Embed(GroupIds(some), options_.window_tokens, hidden);
        },
        [&](int64_t some, absl::string_view why) {
          most_windows_ = some;
          runner_->Note(
              absl::StrCat("going on with ", some, " windows at once: ", why));
        });
  }

  absl::Status RunGroup(int64_t n, HiddenStates* states) {
    const int64_t width = options_.window_tokens;
    HiddenStates& hidden = *states;
    // The output layer in units of a block, roughly, for progress alone.
    const double share = static_cast<double>(n) /
                         static_cast<double>(runner_->n_blocks() +
                                             (options_.perplexity ? 4 : 0));
    for (int64_t block = 0; block < runner_->n_blocks(); ++block) {
      if (options_.cancelled != nullptr && options_.cancelled->load()) {
        return Cancelled();
      }
      RETURN_IF_ERROR(
          ExplainExpert(runner_->RunBlock(block, &collector_, &hidden)));
      Report(share * static_cast<double>(block + 1));
    }
    if (options_.output_matrix || options_.perplexity) {
      RETURN_IF_ERROR(runner_->FinalNorm(&hidden));
    }
    if (options_.output_matrix) {
      const bool tied = model_.Find("output.weight") == nullptr;
      LayerInput input;
      input.name = tied ? "token_embd.weight" : "output.weight";
      input.rows = hidden.values.data();
      input.n_rows = n * width;
      input.n_cols = hidden.hidden_size;
      RETURN_IF_ERROR(collector_.OnInput(input));
    }
    return options_.perplexity ? Score(GroupIds(n), &hidden) : absl::OkStatus();
  }

  // The collector knows the expert, the runner the token.
  absl::Status ExplainExpert(const absl::Status& status) const {
    const std::string& bad = collector_.bad_expert_input();
    if (bad.empty()) {
      return status;
    }
    if (status.ok()) {
      return absl::DataLossError(
          absl::StrCat(bad, " is not finite; reading ", model_.path()));
    }
    return Annotate(status, absl::StrCat("it began with ", bad));
  }

  // Within a group, sums hold some blocks' share of its windows, so what was
  // kept before it stays.
  absl::Status Cancelled() const {
    return absl::CancelledError(absl::StrCat(
        "stopped after ", state_.n_windows, " of ", n_windows_, " windows",
        n_saved_ == 0 ? ""
                      : absl::StrCat("; the same command goes on "
                                     "from window ",
                                     n_saved_)));
  }

  // The second half of each window, as llama-imatrix scores it.
  absl::Status Score(absl::Span<const int32_t> ids, HiddenStates* hidden) {
    const int64_t width = options_.window_tokens;
    const int64_t first = width / 2;
    const int64_t n_scored = width - 1 - first;
    if (n_scored < 1) {
      return absl::OkStatus();
    }
    std::vector<int32_t> targets;
    float* to = hidden->values.data();
    for (int64_t w = 0; w < hidden->n_windows; ++w) {
      std::memmove(
          to, hidden->row(w, first),
          static_cast<size_t>(n_scored * hidden->hidden_size) * sizeof(float));
      to += n_scored * hidden->hidden_size;
      const auto begin = ids.begin() + w * width + first + 1;
      targets.insert(targets.end(), begin, begin + n_scored);
    }
    std::vector<TokenScore> scores(targets.size());
    const int64_t n_rows = static_cast<int64_t>(targets.size());
    for (int64_t row = 0; row < n_rows; row += kHeadRows) {
      RETURN_IF_ERROR(runner_->LogProbs(
          hidden->row(0, row), std::min(kHeadRows, n_rows - row),
          targets.data() + row, scores.data() + row));
    }
    for (const TokenScore& score : scores) {
      state_.nll_sum -= score.log_prob;
      state_.nll_squares += score.log_prob * score.log_prob;
    }
    state_.n_scored += n_rows;
    return absl::OkStatus();
  }

  void AddPerplexity() {
    ImportancePerplexity p;
    p.n_scored = state_.n_scored;
    const double n = static_cast<double>(p.n_scored);
    const double mean = state_.nll_sum / n;
    const double variance = state_.nll_squares / n - mean * mean;
    p.perplexity = std::exp(mean);
    p.standard_error =
        p.perplexity * std::sqrt(std::max(0.0, variance) / (n - 1));
    result_.perplexity = p;
  }

  // Between groups, as often as asked for, and more often while it costs next
  // to nothing. Not once all windows are done: the caller writes the sums.
  absl::Status MaybeSave() {
    constexpr double kCheap = 1.0 / 50;
    const double passed = SecondsSince(saved_);
    if (options_.state_path.empty() || state_.n_windows == n_windows_ ||
        (passed < options_.save_seconds &&
         passed * kCheap < seconds_to_save_)) {
      return absl::OkStatus();
    }
    const Clock::time_point start = Clock::now();
    state_.shared = collector_.shared();
    RETURN_IF_ERROR(WriteImportanceState(state_, options_.state_path));
    state_.shared.clear();
    saved_ = Clock::now();
    seconds_to_save_ = SecondsSince(start);
    n_saved_ = state_.n_windows;
    return absl::OkStatus();
  }

  void Report(double windows_in_group) const {
    if (progress_) {
      progress_(static_cast<double>(state_.n_windows) + windows_in_group);
    }
  }

  const Checkpoint& model_;
  const absl::Span<const int32_t> ids_;
  const std::optional<int32_t> window_bos_;
  const ImportanceOptions& options_;
  const ImportanceProgressFn& progress_;
  const int64_t n_windows_;
  ThreadPool pool_;
  ImportanceCollector collector_;
  std::unique_ptr<ModelRunner> runner_;
  ImportanceState state_;  // `shared` is filled only to be saved
  CollectedImportance result_;
  int64_t n_run_ = 0;
  // Windows that the runner's memory has allowed at once.
  int64_t most_windows_ = std::numeric_limits<int64_t>::max();
  int64_t n_saved_ = 0;  // windows that the state file has
  double seconds_to_save_ = 0;
  Clock::time_point start_, saved_;
};

}  // namespace

absl::StatusOr<CollectedImportance> CollectImportance(
    const Checkpoint& model, absl::Span<const int32_t> ids,
    std::optional<int32_t> window_bos, const ImportanceOptions& options,
    const ImportanceProgressFn& progress) {
  return Collection(model, ids, window_bos, options, progress).Run();
}

absl::Status RemoveImportanceState(const std::string& state_path) {
  std::error_code error;
  std::filesystem::remove(state_path, error);
  return error ? absl::ErrnoToStatus(error.value(),
                                     absl::StrCat("removing ", state_path))
               : absl::OkStatus();
}

}  // namespace narrow
