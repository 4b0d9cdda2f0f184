#include "validate/reference/hidden_reference.h"

#include <algorithm>
#include <cassert>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "calibration/device/compare_logits.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

using Clock = std::chrono::steady_clock;

// Logits held at once when a base file is written.
constexpr int64_t kWrittenBytes = int64_t{128} << 20;

}  // namespace

absl::Status HiddenReference::Prepare(int64_t n_windows,
                                      const ScoreProgressFn& progress) {
  if (n_windows <= rows_->n_windows()) {
    return absl::OkStatus();
  }
  const size_t first = static_cast<size_t>(rows_->n_windows());
  const auto missing =
      windows_.subspan(first, static_cast<size_t>(n_windows) - first);
  const Clock::time_point start = Clock::now();
  const int64_t width = runner_->hidden_size();
  RETURN_IF_ERROR(RunWindows(
      *text_, missing, hidden_bytes_, runner_, progress,
      [&](const ScoredRows& rows, absl::FunctionRef<void(double)> done) {
        const float* at = rows.rows;
        for (const ScoredWindow& window : rows.windows) {
          RETURN_IF_ERROR(rows_->AppendWindow(at, window.n_scored()));
          at += window.n_scored() * width;
        }
        done(1);
        return absl::OkStatus();
      }));
  seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
  n_run_tokens_ += TokensOf(missing);
  return absl::OkStatus();
}

int64_t HiddenReference::row_bytes() const {
  return (runner_->vocab_size() + runner_->hidden_size()) *
             static_cast<int64_t>(sizeof(float)) +
         ReferenceRow::n_bytes(runner_->vocab_size());
}

// Into logits_.
absl::Status HiddenReference::Logits(int64_t first_row, int64_t n_rows) {
  states_.resize(static_cast<size_t>(n_rows * runner_->hidden_size()));
  logits_.resize(static_cast<size_t>(n_rows * runner_->vocab_size()));
  RETURN_IF_ERROR(rows_->Read(first_row, n_rows, states_.data()));
  return runner_->Logits(states_.data(), n_rows, logits_.data());
}

absl::Status HiddenReference::Load(int64_t first_row,
                                   absl::Span<const int32_t> targets) {
  first_row_ = first_row;
  targets_ = targets;
  n_loaded_ = static_cast<int64_t>(targets.size());
  is_here_ = is_there_ = false;
  // With a device, what is needed is known once a candidate comes.
  return runner_->device() != nullptr ? absl::OkStatus() : LoadHere();
}

absl::Status HiddenReference::LoadHere() {
  RETURN_IF_ERROR(Logits(first_row_, n_loaded_));
  if (loaded_.size() < targets_.size()) {
    loaded_.resize(targets_.size());
  }
  const int64_t n_own = runner_->vocab_size();
  pool_->ParallelFor(n_loaded_, [&](int64_t r) {
    const size_t i = static_cast<size_t>(r);
    loaded_[i].Load(logits_.data() + r * n_own, n_own, targets_[i]);
  });
  is_here_ = true;
  return absl::OkStatus();
}

absl::StatusOr<bool> HiddenReference::CompareThere(const float* states,
                                                   ModelRunner* candidate,
                                                   TokenComparison* results) {
  if (runner_->device() == nullptr || candidate->device() == nullptr ||
      !fits_there_) {
    return false;
  }
  const auto compare = [&]() -> absl::StatusOr<std::vector<LogitTerms>> {
    if (!is_there_) {
      states_.resize(static_cast<size_t>(n_loaded_ * runner_->hidden_size()));
      RETURN_IF_ERROR(rows_->Read(first_row_, n_loaded_, states_.data()));
      RETURN_IF_ERROR(
          runner_->LogitsOnDevice(states_.data(), n_loaded_, &there_));
      is_there_ = true;
    }
    RETURN_IF_ERROR(
        candidate->LogitsOnDevice(states, n_loaded_, &candidate_there_));
    return CompareOnDevice(*runner_->device(), there_, candidate_there_,
                           targets_);
  };
  const auto terms = compare();
  if (absl::IsResourceExhausted(terms.status())) {
    runner_->Note(absl::StrCat("logits are compared on the processor: ",
                               terms.status().message()));
    fits_there_ = is_there_ = false;
    there_ = DeviceLogits();
    candidate_there_ = DeviceLogits();
    return false;
  }
  RETURN_IF_ERROR(terms.status());
  std::transform(terms->begin(), terms->end(), results, ComparisonOf);
  return true;
}

absl::Status HiddenReference::Compare(float* logits, int64_t n_vocab,
                                      TokenComparison* results) {
  if (!is_here_) {
    RETURN_IF_ERROR(LoadHere());
  }
  pool_->ParallelFor(n_loaded_, [&](int64_t r) {
    results[r] =
        loaded_[static_cast<size_t>(r)].Compare(logits + r * n_vocab, n_vocab);
  });
  return absl::OkStatus();
}

absl::Status HiddenReference::WriteBase(int64_t n_windows, BaseWriter* writer) {
  assert(n_windows <= rows_->n_windows());
  int64_t n_rows = 0;
  for (int64_t window = 0; window < n_windows; ++window) {
    n_rows += rows_->window_rows(window);
  }
  const int64_t slice = std::max<int64_t>(1, kWrittenBytes / row_bytes());
  for (int64_t first = 0; first < n_rows; first += slice) {
    const int64_t n = std::min(slice, n_rows - first);
    RETURN_IF_ERROR(Logits(first, n));
    RETURN_IF_ERROR(
        writer->AppendRows(logits_.data(), runner_->vocab_size(), n));
  }
  return absl::OkStatus();
}

}  // namespace narrow
