#include "calibration/device/device_feed_forward.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/feed_forward.h"
#include "calibration/weights/weights.h"
#include "formats/base/status.h"
#include "kernels/experts/device/device_experts.h"
#include "kernels/linalg/device/device_chains.h"
#include "kernels/matmul/device/row_groups.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

// Where the rows of tokens, their number and their weights lie in kChosen.
struct Chosen {
  int64_t tokens, rows, weights, end;  // in elements of four bytes
};
Chosen PlacesOf(int64_t n_assigned) {
  return {0, n_assigned, 2 * n_assigned, 3 * n_assigned};
}

}  // namespace

// Rows that are worked on together.
absl::StatusOr<int64_t> DeviceFeedForward::Reserve(const BlockTensors& tensors,
                                                   int64_t n_all) {
  const ModelConfig& c = context_->config();
  const bool exact = context_->is_exact();
  const int64_t n_used = tensors.has_experts ? c.n_experts_used : 1;
  const int64_t n_inner = tensors.has_experts ? tensors.expert_down.n_cols()
                                              : tensors.down.weight.n_cols();
  return context_->ReserveSteps(n_all, 1, [&](int64_t n) {
    const int64_t n_hidden = n * c.hidden_size;
    std::vector<DeviceContext::RoomSize> sizes = {
        {Room::kNormed, 4 * n_hidden},
        {Room::kProjected, 4 * n_hidden},
        {Room::kGates, 4 * n * n_used * n_inner},
        {Room::kUps, 4 * n * n_used * n_inner},
        {Room::kInner, 4 * n * n_used * n_inner}};
    if (!exact) {
      sizes.push_back({Room::kNormedHalves, 2 * n_hidden});
      sizes.push_back({Room::kInnerHalves, 2 * n * n_used * n_inner});
    }
    if (tensors.has_experts) {
      sizes.push_back({Room::kRouter, 4 * n * c.n_experts});
      sizes.push_back({Room::kGathered, 4 * n_hidden * n_used});
      sizes.push_back({Room::kGatheredHalves, 2 * n_hidden * n_used});
      sizes.push_back({Room::kChosen, 4 * PlacesOf(n * n_used).end});
      sizes.push_back({Room::kExpertOutputs, 4 * n_hidden * n_used});
    }
    return sizes;
  });
}

absl::Status DeviceFeedForward::Run(int64_t block, const BlockTensors& tensors,
                                    absl::Span<const DeviceMatrix> matrices,
                                    PartEnd end, DeviceObserving* observing,
                                    HiddenStates* hidden) {
  const ScopedTimer timer(&context_->host()->times->feed_forward);
  const int64_t n_hidden = hidden->hidden_size;
  const int64_t n_all = hidden->n_windows * hidden->window_tokens;
  float* const states = hidden->on_device.as<float>();
  ASSIGN_OR_RETURN(const int64_t step_rows, Reserve(tensors, n_all));
  ASSIGN_OR_RETURN(FiniteFlags flags, FiniteFlags::Begin(context_, 1, n_all));
  for (int64_t first = 0; first < n_all; first += step_rows) {
    const Step step = {tensors, matrices, first,
                       std::min(step_rows, n_all - first), end};
    float* const rows = states + first * n_hidden;
    ASSIGN_OR_RETURN(const DeviceRows normed,
                     context_->Norm(rows, tensors.ffn_norm, step.n_rows,
                                    observing->on() || tensors.has_experts));
    RETURN_IF_ERROR(tensors.has_experts
                        ? RunExperts(step, normed, observing, rows)
                        : RunDense(step, normed, observing, rows));
  }
  return CheckHidden(block, *hidden, &flags);
}

absl::Status DeviceFeedForward::CheckHidden(int64_t block,
                                            const HiddenStates& hidden,
                                            FiniteFlags* flags) {
  RETURN_IF_ERROR(flags->Look(0, 0, hidden.on_device.as<float>(),
                              hidden.n_windows * hidden.window_tokens,
                              hidden.hidden_size, hidden.hidden_size));
  ASSIGN_OR_RETURN(const std::vector<int64_t> bad, flags->First());
  if (bad[0] < 0) {
    return absl::OkStatus();
  }
  return NotFinite(
      *context_->host()->model,
      absl::StrCat("the hidden state after the feed-forward part of blk.",
                   block),
      hidden.first_window + bad[0] / hidden.window_tokens,
      bad[0] % hidden.window_tokens);
}

absl::StatusOr<DeviceRows> DeviceFeedForward::Gate(int64_t n_rows,
                                                   int64_t n_cols,
                                                   bool floats) {
  const bool exact = context_->is_exact();
  row_threads::GateTask task = {};
  task.gate = context_->at<float>(Room::kGates);
  task.up = context_->at<float>(Room::kUps);
  task.kind =
      context_->host()->traits().activation == BlockTraits::Activation::kSilu
          ? row_threads::Gate::kSilu
          : row_threads::Gate::kGelu;
  task.n_numbers = n_rows * n_cols;
  task.out.floats =
      exact || floats ? context_->at<float>(Room::kInner) : nullptr;
  task.out.halves =
      exact ? nullptr : context_->at<uint16_t>(Room::kInnerHalves);
  RETURN_IF_ERROR(RunRows(task, context_->stream()));
  return DeviceRows{task.out.floats, task.out.halves, n_rows, n_cols};
}

absl::Status DeviceFeedForward::RunDense(const Step& step,
                                         const DeviceRows& normed,
                                         DeviceObserving* observing,
                                         float* hidden) {
  const BlockTensors& t = step.tensors;
  observing->Take(normed.floats, normed.n_rows, normed.n_cols, step.first_row);
  RETURN_IF_ERROR(observing->Show(t.gate.weight.name()));
  if (t.up.weight.tensor != t.gate.weight.tensor) {
    RETURN_IF_ERROR(observing->Show(t.up.weight.name()));
  }
  if (step.end == PartEnd::kInput) {
    return absl::OkStatus();
  }
  const int64_t n_inner = t.down.weight.n_cols();
  float* const gates = context_->at<float>(Room::kGates);
  float* const ups = context_->at<float>(Room::kUps);
  RETURN_IF_ERROR(context_->Multiply(normed,
                                     step.matrices[DeviceContext::kGate], gates,
                                     n_inner, t.gate.bias));
  RETURN_IF_ERROR(context_->Multiply(normed, step.matrices[DeviceContext::kUp],
                                     ups, n_inner, t.up.bias));
  ASSIGN_OR_RETURN(const DeviceRows inner,
                   Gate(step.n_rows, n_inner, observing->on()));
  observing->Take(inner.floats, inner.n_rows, inner.n_cols, step.first_row);
  RETURN_IF_ERROR(
      observing->Show(t.down.weight.name(), t.post_ffn_norm.empty()));
  return step.end == PartEnd::kInner ? absl::OkStatus()
                                     : AddDense(step, inner, hidden);
}

// hidden += down(inner).
absl::Status DeviceFeedForward::AddDense(const Step& step,
                                         const DeviceRows& inner,
                                         float* hidden) {
  const LinearTensors& down = step.tensors.down;
  const int64_t n_hidden = context_->config().hidden_size;
  float* const projected = context_->at<float>(Room::kProjected);
  RETURN_IF_ERROR(context_->Multiply(inner, step.matrices[DeviceContext::kDown],
                                     projected, n_hidden, down.bias));
  return context_->AddToHidden(projected, step.tensors.post_ffn_norm,
                               step.n_rows, hidden);
}

absl::Status DeviceFeedForward::EndDense(
    int64_t block, const BlockTensors& tensors,
    absl::Span<const DeviceMatrix> matrices, const float* inner,
    HiddenStates* hidden) {
  const int64_t n_cols = tensors.down.weight.n_cols();
  const int64_t n_all = hidden->n_windows * hidden->window_tokens;
  ASSIGN_OR_RETURN(const int64_t step_rows, Reserve(tensors, n_all));
  ASSIGN_OR_RETURN(FiniteFlags flags, FiniteFlags::Begin(context_, 1, n_all));
  for (int64_t first = 0; first < n_all; first += step_rows) {
    const Step step = {tensors, matrices, first,
                       std::min(step_rows, n_all - first), PartEnd::kOutput};
    float* const copy = context_->at<float>(Room::kInner);
    RETURN_IF_ERROR(context_->ToDevice(inner + first * n_cols,
                                       4 * step.n_rows * n_cols, copy,
                                       "the input of a layer"));
    ASSIGN_OR_RETURN(
        const DeviceRows rows,
        context_->Round(copy, step.n_rows, n_cols, Room::kInnerHalves));
    RETURN_IF_ERROR(
        AddDense(step, rows,
                 hidden->on_device.as<float>() + first * hidden->hidden_size));
  }
  return CheckHidden(block, *hidden, &flags);
}

absl::StatusOr<const float*> DeviceFeedForward::RouterOf(
    const BlockTensors& tensors) {
  const WeightRows& router = tensors.router;
  DeviceBuffer& buffer = routers_[router.tensor];
  if (buffer.data() == nullptr) {
    std::vector<float> rows(
        static_cast<size_t>(router.n_rows * router.n_cols()));
    RETURN_IF_ERROR(ReadScaledRows(*context_->host()->model, *router.tensor,
                                   router.first_row, router.n_rows,
                                   rows.data()));
    const size_t n_bytes = rows.size() * sizeof(float);
    ASSIGN_OR_RETURN(buffer,
                     context_->device().Allocate(n_bytes, router.name()));
    RETURN_IF_ERROR(context_->ToDevice(rows.data(),
                                       static_cast<int64_t>(n_bytes),
                                       buffer.data(), router.name()));
  }
  return buffer.as<float>();
}

absl::StatusOr<DeviceFeedForward::Assignment> DeviceFeedForward::Route(
    const Step& step, const DeviceRows& normed) {
  const ModelConfig& c = context_->config();
  ASSIGN_OR_RETURN(const float* const router, RouterOf(step.tensors));
  float* const on_device = context_->at<float>(Room::kRouter);
  RETURN_IF_ERROR(RunChainProduct(
      chain::GemmNT(Update::kSet, step.n_rows, c.n_experts, normed.n_cols,
                    normed.floats, normed.n_cols, router, normed.n_cols,
                    on_device, c.n_experts),
      context_->stream()));
  std::vector<float> logits(static_cast<size_t>(step.n_rows * c.n_experts));
  RETURN_IF_ERROR(context_->ToHost(on_device, 4 * step.n_rows * c.n_experts,
                                   logits.data(), "logits of experts"));
  std::vector<std::vector<Choice>> choices;
  Assignment assignment;
  assignment.offsets.resize(static_cast<size_t>(c.n_experts) + 1);
  for (int64_t r = 0; r < step.n_rows; ++r) {
    choices.push_back(ChooseExperts(
        {logits.data() + r * c.n_experts, static_cast<size_t>(c.n_experts)},
        c.n_experts_used, c.norm_topk_prob));
    for (const Choice& choice : choices.back()) {
      ++assignment.offsets[static_cast<size_t>(choice.expert) + 1];
    }
  }
  for (size_t e = 1; e < assignment.offsets.size(); ++e) {
    assignment.offsets[e] += assignment.offsets[e - 1];
  }
  std::vector<int64_t> next = assignment.offsets;
  assignment.tokens.resize(static_cast<size_t>(assignment.n_rows()));
  for (size_t r = 0; r < choices.size(); ++r) {
    for (const Choice& choice : choices[r]) {
      const int64_t row = next[static_cast<size_t>(choice.expert)]++;
      assignment.tokens[static_cast<size_t>(row)] = static_cast<int32_t>(r);
      assignment.rows.push_back(static_cast<int32_t>(row));
      assignment.weights.push_back(choice.weight);
    }
  }
  return assignment;
}

absl::Status DeviceFeedForward::ShowExperts(
    const Step& step, const Assignment& assignment, const float* rows,
    int64_t n_cols, absl::Span<const WeightRows* const> weights,
    DeviceObserving* observing) {
  std::vector<int64_t> tokens;
  for (size_t e = 0; observing->on() && e + 1 < assignment.offsets.size();
       ++e) {
    const int64_t begin = assignment.offsets[e];
    const int64_t end = assignment.offsets[e + 1];
    if (begin == end) {
      continue;
    }
    tokens.clear();
    for (int64_t r = begin; r < end; ++r) {
      tokens.push_back(step.first_row +
                       assignment.tokens[static_cast<size_t>(r)]);
    }
    observing->TakeExpert(static_cast<int>(e), rows + begin * n_cols,
                          end - begin, n_cols, tokens);
    for (const WeightRows* weight : weights) {
      RETURN_IF_ERROR(observing->Show(weight->name()));
    }
  }
  return absl::OkStatus();
}

absl::Status DeviceFeedForward::MultiplyExperts(const Assignment& assignment,
                                                const DeviceRows& rows,
                                                const DeviceMatrix& stack,
                                                float* out) {
  const int64_t n_experts = static_cast<int64_t>(assignment.offsets.size()) - 1;
  const int64_t n_outputs = stack.n_rows / n_experts;
  const int64_t matrix = n_outputs * stack.n_cols;
  if (!context_->is_exact()) {
    tensor_tile::Task task;
    task.product = {};
    task.product.left = {rows.halves, rows.n_cols, 1};
    task.product.right = {stack.halves(), stack.n_cols, 1};
    task.product.n_rows = rows.n_rows;
    task.product.n_cols = n_outputs;
    task.product.depth = stack.n_cols;
    task.product.out = out;
    task.product.out_row = n_outputs;
    task.right_group = matrix;
    if (tensor_tile::Fits(task)) {
      ASSIGN_OR_RETURN(const RowGroups groups,
                       RowGroups::Copy(context_->device(), assignment.offsets,
                                       context_->stream()));
      groups.Set(&task);
      RETURN_IF_ERROR(
          context_->products()->MultiplyGroups(task, context_->stream()));
      // The groups' memory goes with them.
      return context_->stream()->Synchronize("experts");
    }
  }
  for (int64_t e = 0; e < n_experts; ++e) {
    const int64_t first = assignment.offsets[static_cast<size_t>(e)];
    DeviceRows some = rows;
    some.n_rows = assignment.offsets[static_cast<size_t>(e) + 1] - first;
    some.floats += rows.floats == nullptr ? 0 : first * rows.n_cols;
    some.halves += rows.halves == nullptr ? 0 : first * rows.n_cols;
    DeviceMatrix one = stack;
    one.n_rows = n_outputs;
    one.data = static_cast<uint8_t*>(stack.data) +
               e * matrix * (stack.is_float ? 4 : 2);
    if (some.n_rows > 0) {
      RETURN_IF_ERROR(
          context_->Multiply(some, one, out + first * n_outputs, n_outputs));
    }
  }
  return absl::OkStatus();
}

absl::Status DeviceFeedForward::RunExperts(const Step& step,
                                           const DeviceRows& normed,
                                           DeviceObserving* observing,
                                           float* hidden) {
  const BlockTensors& t = step.tensors;
  observing->Take(normed.floats, normed.n_rows, normed.n_cols, step.first_row);
  RETURN_IF_ERROR(observing->Show(t.router.name()));
  ASSIGN_OR_RETURN(const Assignment assignment, Route(step, normed));
  const int64_t n_rows = assignment.n_rows();
  const Chosen at = PlacesOf(n_rows);
  int32_t* const tokens = context_->at<int32_t>(Room::kChosen) + at.tokens;
  RETURN_IF_ERROR(context_->ToDevice(assignment.tokens.data(), 4 * n_rows,
                                     tokens, "tokens of experts"));
  expert_threads::GatherTask gather = {};
  gather.x = normed.floats;
  gather.tokens = tokens;
  gather.n_rows = n_rows;
  gather.n = normed.n_cols;
  gather.floats = context_->is_exact() || observing->on()
                      ? context_->at<float>(Room::kGathered)
                      : nullptr;
  gather.halves = context_->is_exact()
                      ? nullptr
                      : context_->at<uint16_t>(Room::kGatheredHalves);
  RETURN_IF_ERROR(RunGather(gather, context_->stream()));
  const DeviceRows rows = {gather.floats, gather.halves, n_rows, gather.n};
  RETURN_IF_ERROR(ShowExperts(step, assignment, rows.floats, rows.n_cols,
                              {&t.expert_gate, &t.expert_up}, observing));
  if (step.end == PartEnd::kInput) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(MultiplyExperts(assignment, rows,
                                  step.matrices[DeviceContext::kGate],
                                  context_->at<float>(Room::kGates)));
  RETURN_IF_ERROR(MultiplyExperts(assignment, rows,
                                  step.matrices[DeviceContext::kUp],
                                  context_->at<float>(Room::kUps)));
  ASSIGN_OR_RETURN(const DeviceRows inner,
                   Gate(n_rows, t.expert_down.n_cols(), observing->on()));
  RETURN_IF_ERROR(ShowExperts(step, assignment, inner.floats, inner.n_cols,
                              {&t.expert_down}, observing));
  if (step.end == PartEnd::kInner) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(MultiplyExperts(assignment, inner,
                                  step.matrices[DeviceContext::kDown],
                                  context_->at<float>(Room::kExpertOutputs)));
  return Combine(step, assignment, hidden);
}

absl::Status DeviceFeedForward::Combine(const Step& step,
                                        const Assignment& assignment,
                                        float* hidden) {
  const int64_t n_assigned = assignment.n_rows();
  const Chosen at = PlacesOf(n_assigned);
  int32_t* const rows = context_->at<int32_t>(Room::kChosen) + at.rows;
  float* const weights = context_->at<float>(Room::kChosen) + at.weights;
  RETURN_IF_ERROR(context_->ToDevice(assignment.rows.data(), 4 * n_assigned,
                                     rows, "rows of tokens"));
  RETURN_IF_ERROR(context_->ToDevice(assignment.weights.data(), 4 * n_assigned,
                                     weights, "weights of experts"));
  expert_threads::CombineTask task = {};
  task.x = context_->at<float>(Room::kExpertOutputs);
  task.rows = rows;
  task.weights = weights;
  task.n_tokens = step.n_rows;
  task.n_used = context_->config().n_experts_used;
  task.n = context_->config().hidden_size;
  task.out = context_->at<float>(Room::kProjected);
  RETURN_IF_ERROR(RunCombine(task, context_->stream()));
  return context_->AddToHidden(context_->at<float>(Room::kProjected),
                               step.tensors.post_ffn_norm, step.n_rows, hidden);
}

}  // namespace narrow
