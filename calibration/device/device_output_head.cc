#include "calibration/device/device_output_head.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "calibration/runner_parts.h"
#include "calibration/weights/packed_weights.h"
#include "formats/base/elementary.h"
#include "formats/base/status.h"
#include "kernels/matmul/matmul.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

using row_threads::RowScore;

// Tokens merged before they are merged with all: those of output_head.cc.
constexpr int64_t kMergedTokens = 8 * kPanelCols;
static_assert(DeviceContext::kSliceTokens % kMergedTokens == 0,
              "slices are merged whole");

// Where targets, slices and scores lie in Room::kScores.
int64_t TargetBytes(int64_t n_rows) { return (4 * n_rows + 15) / 16 * 16; }

}  // namespace

absl::StatusOr<int64_t> DeviceOutputHead::Reserve(int64_t n_rows) {
  const int64_t n_cols = weight_.n_cols();
  const int64_t n_tokens =
      std::min(DeviceContext::kSliceTokens, weight_.n_rows);
  return context_->ReserveSteps(n_rows, 1, [&](int64_t n) {
    std::vector<DeviceContext::RoomSize> sizes = {
        {Room::kNormed, 4 * n * n_cols},
        {Room::kLogits, 4 * n * n_tokens},
        {Room::kScores,
         TargetBytes(n) + 2 * n * static_cast<int64_t>(sizeof(RowScore))}};
    if (!context_->is_exact()) {
      sizes.push_back({Room::kNormedHalves, 2 * n * n_cols});
    }
    return sizes;
  });
}

absl::Status DeviceOutputHead::MultiplySlices(const float* rows, int64_t n_rows,
                                              const PlaceFn& place,
                                              const UseFn& use) {
  const int64_t n_cols = weight_.n_cols();
  float* const inputs = context_->at<float>(Room::kNormed);
  RETURN_IF_ERROR(context_->ToDevice(rows, 4 * n_rows * n_cols, inputs,
                                     "final hidden states"));
  ASSIGN_OR_RETURN(const DeviceRows x, context_->Round(inputs, n_rows, n_cols,
                                                       Room::kNormedHalves));
  DeviceStream* const stream = context_->stream();
  for (int64_t i = 0; i < context_->n_slices(); ++i) {
    const int64_t group = context_->slice_group(i);
    ASSIGN_OR_RETURN(const absl::Span<const DeviceMatrix> matrices,
                     context_->weights()->Acquire(group, stream));
    const int64_t first_token = i * DeviceContext::kSliceTokens;
    const int64_t n_tokens = matrices[0].n_rows;
    const Slice slice = place(first_token, n_tokens);
    const absl::Status status =
        context_->Multiply(x, matrices[0], slice.out, slice.stride);
    const absl::Status released = context_->weights()->Release(group, stream);
    RETURN_IF_ERROR(status.ok() ? released : status);
    if (use) {
      RETURN_IF_ERROR(use(first_token, n_tokens));
    }
  }
  return absl::OkStatus();
}

absl::Status DeviceOutputHead::CapLogits(int64_t n, float* logits) {
  const float cap = context_->config().final_logit_softcap;
  return cap > 0 ? RunRows(row_threads::MixTask{logits, 1, 0, cap, n, logits},
                           context_->stream())
                 : absl::OkStatus();
}

absl::Status DeviceOutputHead::ForEachSlice(const float* rows, int64_t n_rows,
                                            const UseFn& use) {
  float* const logits = context_->at<float>(Room::kLogits);
  return MultiplySlices(
      rows, n_rows,
      [&](int64_t, int64_t n_tokens) {
        return Slice{logits, n_tokens};
      },
      [&](int64_t first_token, int64_t n_tokens) -> absl::Status {
        RETURN_IF_ERROR(CapLogits(n_rows * n_tokens, logits));
        return use(first_token, n_tokens);
      });
}

absl::Status DeviceOutputHead::LogitsOnDevice(const float* rows, int64_t n_rows,
                                              DeviceLogits* logits) {
  const ScopedTimer timer(&context_->host()->times->output);
  const int64_t n_vocab = weight_.n_rows;
  const auto n_bytes = static_cast<size_t>(n_rows * n_vocab) * sizeof(float);
  logits->n_rows = n_rows;
  logits->n_vocab = n_vocab;
  if (logits->memory.n_bytes() < n_bytes) {
    logits->memory = DeviceBuffer();
    ASSIGN_OR_RETURN(logits->memory,
                     context_->device().Allocate(n_bytes, "logits"));
  }
  ASSIGN_OR_RETURN(const int64_t step, Reserve(n_rows));
  for (int64_t first = 0; first < n_rows; first += step) {
    float* const out = logits->memory.as<float>() + first * n_vocab;
    const int64_t n = std::min(step, n_rows - first);
    RETURN_IF_ERROR(MultiplySlices(
        rows + first * weight_.n_cols(), n,
        [&](int64_t first_token, int64_t) {
          return Slice{out + first_token, n_vocab};
        },
        /*use=*/nullptr));
    RETURN_IF_ERROR(CapLogits(n * n_vocab, out));
  }
  return context_->stream()->Synchronize("logits");
}

absl::Status DeviceOutputHead::Logits(const float* rows, int64_t n_rows,
                                      float* logits) {
  ASSIGN_OR_RETURN(const int64_t step, Reserve(n_rows));
  std::vector<float> part;
  for (int64_t first = 0; first < n_rows; first += step) {
    const int64_t n = std::min(step, n_rows - first);
    RETURN_IF_ERROR(ForEachSlice(
        rows + first * weight_.n_cols(), n,
        [&](int64_t token, int64_t n_tokens) {
          part.resize(static_cast<size_t>(n * n_tokens));
          const absl::Status status =
              context_->ToHost(context_->at<float>(Room::kLogits),
                               4 * n * n_tokens, part.data(), "logits");
          for (int64_t r = 0; r < n; ++r) {
            std::copy_n(part.data() + r * n_tokens, n_tokens,
                        logits + (first + r) * weight_.n_rows + token);
          }
          return status;
        }));
  }
  return absl::OkStatus();
}

absl::Status DeviceOutputHead::LogProbs(const float* rows, int64_t n_rows,
                                        const int32_t* targets,
                                        TokenScore* scores) {
  RETURN_IF_ERROR(CheckTargets(weight_, targets, n_rows));
  const ScopedTimer timer(&context_->host()->times->output);
  ASSIGN_OR_RETURN(const int64_t step, Reserve(n_rows));
  for (int64_t first = 0; first < n_rows; first += step) {
    RETURN_IF_ERROR(ScoreRows(rows + first * weight_.n_cols(),
                              std::min(step, n_rows - first), targets + first,
                              scores + first));
  }
  return absl::OkStatus();
}

absl::Status DeviceOutputHead::ScoreRows(const float* rows, int64_t n_rows,
                                         const int32_t* targets,
                                         TokenScore* scores) {
  uint8_t* const memory = context_->at<uint8_t>(Room::kScores);
  auto* const on_device =
      reinterpret_cast<RowScore*>(memory + TargetBytes(n_rows));
  std::vector<RowScore> all(static_cast<size_t>(n_rows));
  const auto n_bytes = static_cast<int64_t>(all.size() * sizeof(RowScore));
  RETURN_IF_ERROR(
      context_->ToDevice(targets, 4 * n_rows, memory, "target tokens"));
  RETURN_IF_ERROR(context_->ToDevice(all.data(), n_bytes, on_device, "scores"));
  RETURN_IF_ERROR(
      ForEachSlice(rows, n_rows, [&](int64_t token, int64_t n_tokens) {
        row_threads::ScoreTask task = {};
        task.logits = context_->at<float>(Room::kLogits);
        task.targets = reinterpret_cast<const int32_t*>(memory);
        task.n_rows = n_rows;
        task.n = n_tokens;
        task.first_token = token;
        task.panel = PackedWeights::PanelCols(weight_.n_cols());
        task.slice = kMergedTokens;
        task.slices = on_device + n_rows;
        task.scores = on_device;
        return RunRows(task, context_->stream());
      }));
  RETURN_IF_ERROR(context_->ToHost(on_device, n_bytes, all.data(), "scores"));
  for (int64_t r = 0; r < n_rows; ++r) {
    const RowScore& row = all[static_cast<size_t>(r)];
    scores[r].log_prob =
        static_cast<double>(row.target_logit) - row.top - Log(row.sum);
    scores[r].top_token = row.top_token;
    if (!std::isfinite(scores[r].log_prob)) {
      return LogitsNotFinite(*context_->host()->model, weight_, r);
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
