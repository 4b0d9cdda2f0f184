// Tested by block_judge_test.cc.

#include "converter/compensated/block_judge.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "formats/base/status.h"
#include "validate/measures/divergence.h"

namespace narrow {
namespace {

// Logits of the original and of all variants held at a time.
constexpr int64_t kLogitBytes = int64_t{192} << 20;

// `n` of `all`, evenly spread.
std::vector<int64_t> Spread(const std::vector<int64_t>& all, int64_t n) {
  const int64_t size = static_cast<int64_t>(all.size());
  if (size <= n) {
    return all;
  }
  std::vector<int64_t> some;
  for (int64_t i = 0; i < n; ++i) {
    some.push_back(all[static_cast<size_t>(i * size / n)]);
  }
  return some;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockJudge>> BlockJudge::Create(
    const Checkpoint* model, OverlaySource* overlay,
    const CalibrationSamples& samples, const VerifyWindows& verify,
    const JudgeOptions& options) {
  std::unique_ptr<BlockJudge> judge(new BlockJudge(model, overlay, options));
  judge->n_windows_ = verify.n_windows;
  judge->first_window_ = samples.n_samples() - verify.n_windows;
  std::vector<int64_t> counted;
  for (size_t t = 0; t < verify.counts.size(); ++t) {
    if (verify.counts[t] != 0) {
      counted.push_back(static_cast<int64_t>(t));
    }
  }
  if (counted.empty()) {
    return absl::InvalidArgumentError(
        "no token of the windows to verify on counts");
  }
  judge->positions_ = Spread(counted, kMostPositions);
  RETURN_IF_ERROR(judge->OpenRunners());
  const absl::Status status = judge->RunReference(samples);
  ASSIGN_OR_RETURN(const bool again, judge->LeftDevice(status));
  RETURN_IF_ERROR(again ? judge->RunReference(samples) : status);
  return judge;
}

absl::Status BlockJudge::OpenRunners() {
  RunnerOptions runner;
  runner.precision = Precision::kReproducible;
  runner.n_threads = options_.n_threads;
  runner.device = device_;
  runner.prefetch_weights = false;
  runner.on_device_note = options_.on_device_note;
  const auto open = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(original_, ModelRunner::Create(&model_, runner));
    ASSIGN_OR_RETURN(shown_, ModelRunner::Create(&model_, runner));
    return absl::OkStatus();
  };
  const absl::Status status = open();
  if (absl::IsResourceExhausted(status) && device_.has_value()) {
    return LeftDevice(status).status();
  }
  return status;
}

absl::StatusOr<bool> BlockJudge::LeftDevice(const absl::Status& status) {
  if (!device_.has_value() || !absl::IsResourceExhausted(status)) {
    return false;
  }
  if (options_.on_device_note) {
    options_.on_device_note(
        absl::StrCat("the processor judges blocks: ", status.message()));
  }
  device_.reset();
  original_.reset();
  shown_.reset();
  RETURN_IF_ERROR(OpenRunners());
  return true;
}

absl::Status BlockJudge::RunReference(const CalibrationSamples& samples) {
  HiddenStates hidden;
  {
    const OriginalsShown originals(overlay_, true);
    RETURN_IF_ERROR(original_->Embed(
        absl::MakeConstSpan(samples.ids)
            .subspan(
                static_cast<size_t>(first_window_ * samples.sample_tokens)),
        samples.sample_tokens, &hidden));
  }
  RETURN_IF_ERROR(RunOriginals(0, &hidden));
  reference_ = ScoredRows(hidden, 0);
  return absl::OkStatus();
}

// The blocks from `first_block` on, and the final norm.
absl::Status BlockJudge::RunOriginals(int64_t first_block,
                                      HiddenStates* hidden) {
  const OriginalsShown originals(overlay_, true);
  for (int64_t b = first_block; b < original_->n_blocks(); ++b) {
    if (options_.cancelled != nullptr && options_.cancelled->load()) {
      return absl::CancelledError("stopped while verifying");
    }
    RETURN_IF_ERROR(original_->RunBlock(b, /*observer=*/nullptr, hidden));
    original_->ForgetWeights();  // a block's is all that is kept
  }
  return original_->FinalNorm(hidden);
}

// Of a variant whose windows begin at `first_window`.
std::vector<float> BlockJudge::ScoredRows(const HiddenStates& hidden,
                                          int64_t first_window) const {
  std::vector<float> rows;
  for (const int64_t position : positions_) {
    const float* row = hidden.row(first_window, position);
    rows.insert(rows.end(), row, row + hidden.hidden_size);
  }
  return rows;
}

absl::StatusOr<std::vector<double>> BlockJudge::DivergencesOfRows(
    const std::vector<std::vector<float>>& rows, ModelRunner* candidate) {
  const int64_t n_vocab = original_->vocab_size();
  const int64_t width = original_->hidden_size();
  const int64_t row_bytes = n_vocab * static_cast<int64_t>(sizeof(float)) * 3;
  const int64_t slice = std::max<int64_t>(1, kLogitBytes / row_bytes);
  std::vector<float> reference, logits, scratch;
  std::vector<std::vector<double>> divergences(
      rows.size(), std::vector<double>(positions_.size()));
  for (int64_t first = 0; first < n_positions(); first += slice) {
    const int64_t n = std::min(slice, n_positions() - first);
    reference.resize(static_cast<size_t>(n * n_vocab));
    logits.resize(reference.size());
    {
      const OriginalsShown originals(overlay_, true);
      RETURN_IF_ERROR(original_->Logits(reference_.data() + first * width, n,
                                        reference.data()));
    }
    for (size_t v = 0; v < rows.size(); ++v) {
      const OriginalsShown originals(overlay_, candidate == original_.get());
      RETURN_IF_ERROR(
          candidate->Logits(rows[v].data() + first * width, n, logits.data()));
      scratch = reference;
      pool_.ParallelFor(n, [&](int64_t r) {
        divergences[v][static_cast<size_t>(first + r)] = DivergenceOfLogits(
            n_vocab, scratch.data() + r * n_vocab, logits.data() + r * n_vocab);
      });
    }
  }
  std::vector<double> means;
  for (const std::vector<double>& each : divergences) {
    double sum = 0;
    for (const double divergence : each) {
      sum += divergence;
    }
    // A variant that gives no numbers is worse than any that does.
    means.push_back(std::isfinite(sum) ? sum / static_cast<double>(each.size())
                                       : std::numeric_limits<double>::max());
  }
  return means;
}

absl::StatusOr<std::vector<double>> BlockJudge::DivergencesOfOutputs(
    const HiddenStates& states, int n_variants,
    const std::function<absl::Status(int)>& show) {
  HiddenStates normed = states;
  RETURN_IF_ERROR(shown_->FinalNorm(&normed));
  const std::vector<std::vector<float>> rows = {ScoredRows(normed, 0)};
  std::vector<double> divergences;
  for (int v = 0; v < n_variants; ++v) {
    RETURN_IF_ERROR(show(v));
    shown_->ForgetWeights();
    ASSIGN_OR_RETURN(const std::vector<double> divergence,
                     DivergencesOfRows(rows, shown_.get()));
    divergences.push_back(divergence.front());
  }
  shown_->ForgetWeights();
  original_->ForgetWeights();
  return divergences;
}

absl::StatusOr<std::vector<double>> BlockJudge::Divergences(
    int64_t block, const HiddenStates& states, int n_variants,
    const std::function<absl::Status(int)>& show) {
  auto divergences = DivergencesOfBlocks(block, states, n_variants, show);
  ASSIGN_OR_RETURN(const bool again, LeftDevice(divergences.status()));
  return again ? DivergencesOfBlocks(block, states, n_variants, show)
               : divergences;
}

absl::StatusOr<std::vector<double>> BlockJudge::DivergencesOfBlocks(
    int64_t block, const HiddenStates& states, int n_variants,
    const std::function<absl::Status(int)>& show) {
  if (block == original_->n_blocks()) {
    return DivergencesOfOutputs(states, n_variants, show);
  }
  // All variants go through the later blocks together, as more windows.
  HiddenStates all = states;
  all.n_windows = n_variants * states.n_windows;
  all.values.clear();
  for (int v = 0; v < n_variants; ++v) {
    HiddenStates variant = states;
    RETURN_IF_ERROR(show(v));
    shown_->ForgetWeights();
    RETURN_IF_ERROR(shown_->RunBlock(block, /*observer=*/nullptr, &variant));
    RETURN_IF_ERROR(shown_->Fetch(&variant));
    all.values.insert(all.values.end(), variant.values.begin(),
                      variant.values.end());
  }
  shown_->ForgetWeights();
  RETURN_IF_ERROR(RunOriginals(block + 1, &all));
  std::vector<std::vector<float>> rows;
  for (int v = 0; v < n_variants; ++v) {
    rows.push_back(ScoredRows(all, v * states.n_windows));
  }
  ASSIGN_OR_RETURN(std::vector<double> divergences,
                   DivergencesOfRows(rows, original_.get()));
  original_->ForgetWeights();
  return divergences;
}

}  // namespace narrow
