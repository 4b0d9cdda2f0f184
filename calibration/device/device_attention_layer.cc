#include "calibration/device/device_attention_layer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/attention/device/device_attention.h"
#include "kernels/attention/device/exact_attention.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

// Sets of flags: queries, keys and values; the hidden states afterwards.
constexpr int64_t kQkvSet = 0;
constexpr int64_t kHiddenSet = 1;

}  // namespace

int64_t DeviceAttentionLayer::Width() const {
  const ModelConfig& c = context_->config();
  return (c.n_heads + 2 * c.n_kv_heads) * c.head_dim;
}

// Windows that are worked on together.
absl::StatusOr<int64_t> DeviceAttentionLayer::Reserve(
    const HiddenStates& hidden) {
  const ModelConfig& c = context_->config();
  const bool exact = context_->is_exact();
  const int64_t n_query = c.n_heads * c.head_dim;
  return context_->ReserveSteps(
      hidden.n_windows, hidden.window_tokens, [&](int64_t n) {
        std::vector<DeviceContext::RoomSize> sizes = {
            {Room::kNormed, 4 * n * c.hidden_size},
            {Room::kQkv, 4 * n * Width()},
            {Room::kAttended, 4 * n * n_query},
            {Room::kProjected, 4 * n * c.hidden_size}};
        if (!exact) {
          sizes.push_back({Room::kNormedHalves, 2 * n * c.hidden_size});
          sizes.push_back({Room::kQkvHalves, 2 * n * Width()});
          sizes.push_back({Room::kAttendedHalves, 2 * n * n_query});
        }
        return sizes;
      });
}

absl::Status DeviceAttentionLayer::Run(int64_t block,
                                       const BlockTensors& tensors,
                                       absl::Span<const DeviceMatrix> matrices,
                                       const Rope& rope, PartEnd end,
                                       DeviceObserving* observing,
                                       HiddenStates* hidden,
                                       const DeviceAttentionTrace* trace) {
  const ScopedTimer timer(&context_->host()->times->attention);
  const int64_t n_tokens = hidden->window_tokens;
  const int64_t n_all = hidden->n_windows * n_tokens;
  float* const states = hidden->on_device.as<float>();
  const DeviceAttentionTrace kept =
      trace == nullptr ? DeviceAttentionTrace() : *trace;
  ASSIGN_OR_RETURN(const int64_t windows, Reserve(*hidden));
  ASSIGN_OR_RETURN(FiniteFlags flags, FiniteFlags::Begin(context_, 2, n_all));
  for (int64_t first = 0; first < n_all; first += windows * n_tokens) {
    const Step step = {tensors, matrices, first,
                       std::min(windows * n_tokens, n_all - first)};
    float* const rows = states + first * hidden->hidden_size;
    ASSIGN_OR_RETURN(
        const DeviceRows normed,
        context_->Norm(rows, tensors.attn_norm, step.n_rows, observing->on()));
    RETURN_IF_ERROR(ObserveInput(step, normed, observing));
    if (end == PartEnd::kInput) {
      continue;
    }
    RETURN_IF_ERROR(Project(step, normed));
    RETURN_IF_ERROR(Keep(step, Room::kQkv, Width(), kept.projected_qkv));
    RETURN_IF_ERROR(NormAndRotate(step, rope, n_tokens));
    RETURN_IF_ERROR(Keep(step, Room::kQkv, Width(), kept.qkv));
    RETURN_IF_ERROR(flags.Look(kQkvSet, first, context_->at<float>(Room::kQkv),
                               step.n_rows, Width(), Width()));
    ASSIGN_OR_RETURN(
        const DeviceRows attended,
        Attend(step, IsSliding(context_->config(), block), n_tokens));
    const WeightRows& output = tensors.attn_output.weight;
    RETURN_IF_ERROR(
        Keep(step, Room::kAttended, output.n_cols(), kept.attended));
    observing->Take(attended.floats, step.n_rows, output.n_cols(), first);
    RETURN_IF_ERROR(
        observing->Show(output.name(), tensors.post_attn_norm.empty()));
    if (end == PartEnd::kOutput) {
      RETURN_IF_ERROR(AddOutput(step, attended, kept.output, rows));
    }
  }
  RETURN_IF_ERROR(flags.Look(kHiddenSet, 0, states, n_all, hidden->hidden_size,
                             hidden->hidden_size));
  return CheckFlags(block, tensors, *hidden, &flags);
}

absl::Status DeviceAttentionLayer::CheckFlags(int64_t block,
                                              const BlockTensors& tensors,
                                              const HiddenStates& hidden,
                                              FiniteFlags* flags) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> firsts, flags->First());
  const auto not_finite = [&](absl::string_view what, int64_t row) {
    return NotFinite(*context_->host()->model, what,
                     hidden.first_window + row / hidden.window_tokens,
                     row % hidden.window_tokens);
  };
  if (firsts[kQkvSet] >= 0) {
    return not_finite(
        absl::StrCat("queries, keys or values of ", tensors.q.weight.name()),
        firsts[kQkvSet]);
  }
  return firsts[kHiddenSet] < 0
             ? absl::OkStatus()
             : not_finite(
                   absl::StrCat("the hidden state after the attention of blk.",
                                block),
                   firsts[kHiddenSet]);
}

absl::Status DeviceAttentionLayer::End(int64_t block,
                                       const BlockTensors& tensors,
                                       absl::Span<const DeviceMatrix> matrices,
                                       const float* inner,
                                       HiddenStates* hidden) {
  const int64_t n_cols = tensors.attn_output.weight.n_cols();
  const int64_t n_all = hidden->n_windows * hidden->window_tokens;
  ASSIGN_OR_RETURN(const int64_t windows, Reserve(*hidden));
  ASSIGN_OR_RETURN(FiniteFlags flags, FiniteFlags::Begin(context_, 2, n_all));
  const int64_t step_rows = windows * hidden->window_tokens;
  for (int64_t first = 0; first < n_all; first += step_rows) {
    const Step step = {tensors, matrices, first,
                       std::min(step_rows, n_all - first)};
    RETURN_IF_ERROR(context_->ToDevice(
        inner + first * n_cols, 4 * step.n_rows * n_cols,
        context_->at<float>(Room::kAttended), "the input of a layer"));
    ASSIGN_OR_RETURN(
        const DeviceRows attended,
        context_->Round(context_->at<float>(Room::kAttended), step.n_rows,
                        n_cols, Room::kAttendedHalves));
    RETURN_IF_ERROR(
        AddOutput(step, attended, /*kept=*/nullptr,
                  hidden->on_device.as<float>() + first * hidden->hidden_size));
  }
  RETURN_IF_ERROR(flags.Look(kHiddenSet, 0, hidden->on_device.as<float>(),
                             n_all, hidden->hidden_size, hidden->hidden_size));
  return CheckFlags(block, tensors, *hidden, &flags);
}

absl::Status DeviceAttentionLayer::ObserveInput(const Step& step,
                                                const DeviceRows& normed,
                                                DeviceObserving* observing) {
  observing->Take(normed.floats, normed.n_rows, normed.n_cols, step.first_row);
  const CheckpointTensor* seen = nullptr;
  for (const LinearTensors* layer :
       {&step.tensors.q, &step.tensors.k, &step.tensors.v}) {
    // Parts of one fused tensor are one multiplication.
    if (layer->weight.tensor != seen) {
      RETURN_IF_ERROR(observing->Show(layer->weight.name()));
    }
    seen = layer->weight.tensor;
  }
  return absl::OkStatus();
}

absl::Status DeviceAttentionLayer::Project(const Step& step,
                                           const DeviceRows& normed) {
  const LinearTensors* layers[] = {&step.tensors.q, &step.tensors.k,
                                   &step.tensors.v};
  float* out = context_->at<float>(Room::kQkv);
  for (size_t i = 0; i < 3; ++i) {
    RETURN_IF_ERROR(context_->Multiply(normed,
                                       step.matrices[DeviceContext::kQ + i],
                                       out, Width(), layers[i]->bias));
    out += layers[i]->weight.n_rows;
  }
  return absl::OkStatus();
}

absl::Status DeviceAttentionLayer::NormAndRotate(const Step& step,
                                                 const Rope& rope,
                                                 int64_t window_tokens) {
  const ModelConfig& c = context_->config();
  float* const qkv = context_->at<float>(Room::kQkv);
  const auto norm = [&](const std::vector<float>& weight, int64_t n_heads,
                        float* x) {
    row_threads::NormTask task = {};
    task.x = x;
    task.weight = context_->vector(weight);
    task.n_rows = step.n_rows * n_heads;
    task.n = c.head_dim;
    task.eps = c.norm_eps;
    task.out.floats = x;
    task.n_heads = n_heads;
    task.stride = Width();
    return RunRows(task, context_->stream());
  };
  if (!step.tensors.q_norm.empty()) {
    RETURN_IF_ERROR(norm(step.tensors.q_norm, c.n_heads, qkv));
  }
  if (!step.tensors.k_norm.empty()) {
    RETURN_IF_ERROR(
        norm(step.tensors.k_norm, c.n_kv_heads, qkv + c.n_heads * c.head_dim));
  }
  row_threads::RotateTask rotate = {};
  rotate.x = qkv;
  rotate.cosines = rope.cosines;
  rotate.sines = rope.sines;
  rotate.n_tokens = step.n_rows;
  rotate.n_heads = c.n_heads + c.n_kv_heads;
  rotate.head_dim = c.head_dim;
  rotate.stride = Width();
  rotate.n_pairs = rope.n_pairs;
  rotate.halves = context_->host()->traits().rope == BlockTraits::Rope::kHalves;
  rotate.n_positions = window_tokens;
  return RunRows(rotate, context_->stream());
}

absl::StatusOr<DeviceRows> DeviceAttentionLayer::Attend(const Step& step,
                                                        bool sliding,
                                                        int64_t window_tokens) {
  const ModelConfig& c = context_->config();
  const int64_t n_query = c.n_heads * c.head_dim;
  attention_threads::AttentionTask task = {};
  task.q = context_->at<float>(Room::kQkv);
  task.k = task.q + n_query;
  task.v = task.k + c.n_kv_heads * c.head_dim;
  task.out = context_->at<float>(Room::kAttended);
  task.q_stride = task.kv_stride = Width();
  task.out_stride = n_query;
  task.n_sequences = step.n_rows / window_tokens;
  task.n_tokens = window_tokens;
  task.n_heads = c.n_heads;
  task.group = c.n_heads / c.n_kv_heads;
  task.head_dim = c.head_dim;
  task.window = sliding ? c.sliding_window : 0;
  task.scale = c.attention_scale;
  task.soft_cap = c.attn_logit_softcap;
  if (context_->is_exact()) {
    RETURN_IF_ERROR(RunExactAttention(task, context_->stream()));
  } else {
    ASSIGN_OR_RETURN(const bool in_halves, AttendInHalves(task));
    if (in_halves) {
      return DeviceRows{task.out, context_->at<uint16_t>(Room::kAttendedHalves),
                        step.n_rows, n_query};
    }
    RETURN_IF_ERROR(RunAttention(task, context_->stream()));
  }
  return context_->Round(task.out, step.n_rows, n_query, Room::kAttendedHalves);
}

absl::StatusOr<bool> DeviceAttentionLayer::AttendInHalves(
    const attention_threads::AttentionTask& task) {
  uint16_t* const qkv = context_->at<uint16_t>(Room::kQkvHalves);
  tensor_attention::Task halves = {};
  halves.q = qkv;
  halves.k = qkv + (task.k - task.q);
  halves.v = qkv + (task.v - task.q);
  halves.floats = task.out;
  halves.halves = context_->at<uint16_t>(Room::kAttendedHalves);
  halves.q_stride = task.q_stride;
  halves.kv_stride = task.kv_stride;
  halves.out_stride = task.out_stride;
  halves.n_sequences = task.n_sequences;
  halves.n_tokens = task.n_tokens;
  halves.n_heads = task.n_heads;
  halves.group = task.group;
  halves.head_dim = task.head_dim;
  halves.window = task.window;
  halves.scale = task.scale;
  halves.soft_cap = task.soft_cap;
  if (!tensor_attention::Fits(halves)) {
    return false;
  }
  RETURN_IF_ERROR(context_->products()->Split(
      task.q, task.n_sequences * task.n_tokens * Width(), 0, qkv,
      context_->stream()));
  RETURN_IF_ERROR(RunTensorAttention(halves, context_->stream()));
  return true;
}

absl::Status DeviceAttentionLayer::AddOutput(const Step& step,
                                             const DeviceRows& attended,
                                             float* kept, float* hidden) {
  const LinearTensors& layer = step.tensors.attn_output;
  const int64_t n_hidden = context_->config().hidden_size;
  float* const projected = context_->at<float>(Room::kProjected);
  RETURN_IF_ERROR(context_->Multiply(attended,
                                     step.matrices[DeviceContext::kAttnOutput],
                                     projected, n_hidden, layer.bias));
  RETURN_IF_ERROR(Keep(step, Room::kProjected, n_hidden, kept));
  return context_->AddToHidden(projected, step.tensors.post_attn_norm,
                               step.n_rows, hidden);
}

absl::Status DeviceAttentionLayer::Keep(const Step& step, Room room,
                                        int64_t n_cols, float* all) {
  if (all == nullptr) {
    return absl::OkStatus();
  }
  return context_->stream()->Copy(
      context_->at<float>(room),
      static_cast<size_t>(step.n_rows * n_cols) * sizeof(float),
      all + step.first_row * n_cols);
}

}  // namespace narrow
