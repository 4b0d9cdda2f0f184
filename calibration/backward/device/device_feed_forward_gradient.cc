// Tested by: device_gradient_test.

#include "calibration/backward/device/device_feed_forward_gradient.h"

#include <algorithm>

#include "calibration/backward/layers/feed_forward_gradient.h"
#include "calibration/feed_forward.h"
#include "calibration/weights/weights.h"
#include "formats/base/status.h"
#include "kernels/gradients/device/device_gradients.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

row_threads::Gate GateOf(const BlockTraits& traits) {
  return traits.activation == BlockTraits::Activation::kSilu
             ? row_threads::Gate::kSilu
             : row_threads::Gate::kGelu;
}

// The rows of an expert in a stack.
DeviceMatrix OfExpert(const DeviceMatrix& stack, int64_t n_experts,
                      int64_t expert) {
  DeviceMatrix one = stack;
  one.n_rows = stack.n_rows / n_experts;
  one.data = static_cast<float*>(stack.data) + expert * one.n_rows * one.n_cols;
  return one;
}

}  // namespace

absl::Status DeviceFeedForwardGradient::Run(const BlockWork& work,
                                            const float* input) {
  return work.tensors.has_experts ? RunExperts(work, input)
                                  : RunDense(work, input);
}

absl::Status DeviceFeedForwardGradient::NormGradient(
    const float* x, const std::vector<float>& weight, const float* gradient,
    int64_t n_rows, float* out) {
  gradient_threads::NormGradientTask task = {};
  task.x = x;
  task.weight = context_->vector(weight);
  task.gradient = gradient;
  task.n_rows = n_rows;
  task.n = context_->config().hidden_size;
  task.eps = context_->config().norm_eps;
  task.out = out;
  return RunGradients(task, context_->stream());
}

absl::Status DeviceFeedForwardGradient::AddNormGradient(
    const BlockWork& work, const float* input, int64_t n_rows,
    const float* normed_gradient, float* gradient) {
  gradient_threads::NormGradientTask task = {};
  task.x = input;
  task.weight = context_->vector(work.tensors.ffn_norm);
  task.gradient = normed_gradient;
  task.n_rows = n_rows;
  task.n = context_->config().hidden_size;
  task.eps = context_->config().norm_eps;
  task.out = gradient;
  task.add = true;
  return RunGradients(task, context_->stream());
}

absl::Status DeviceFeedForwardGradient::RunDense(const BlockWork& work,
                                                 const float* input) {
  const int64_t n_hidden = context_->config().hidden_size;
  const bool post_norm = !work.tensors.post_ffn_norm.empty();
  for (int64_t first = 0; first < work.n_rows(); first += kStepRows) {
    const Step step = {work,
                       -1,
                       std::min(kStepRows, work.n_rows() - first),
                       first,
                       {},
                       work.matrices[DeviceContext::kGate],
                       work.matrices[DeviceContext::kUp],
                       work.matrices[DeviceContext::kDown]};
    const float* const rows = input + first * n_hidden;
    float* const gradient = memory_->places().gradient + first * n_hidden;
    row_threads::NormTask norm = {};
    norm.x = rows;
    norm.weight = context_->vector(work.tensors.ffn_norm);
    norm.n_rows = step.n_rows;
    norm.n = n_hidden;
    norm.eps = context_->config().norm_eps;
    norm.out.floats = places().normed;
    RETURN_IF_ERROR(RunRows(norm, context_->stream()));
    RETURN_IF_ERROR(Forward(step, post_norm));
    if (post_norm) {
      RETURN_IF_ERROR(NormGradient(places().outputs, work.tensors.post_ffn_norm,
                                   gradient, step.n_rows,
                                   places().output_gradient));
    }
    RETURN_IF_ERROR(
        BackStep(step, post_norm ? places().output_gradient : gradient));
    RETURN_IF_ERROR(AddNormGradient(work, rows, step.n_rows,
                                    places().normed_gradient, gradient));
  }
  return absl::OkStatus();
}

absl::Status DeviceFeedForwardGradient::Forward(const Step& step,
                                                bool outputs) {
  const BlockTensors& t = step.work.tensors;
  const bool dense = step.expert < 0;
  static const std::vector<float>* const kNone = new std::vector<float>;
  const DeviceRows normed = {places().normed, nullptr, step.n_rows,
                             context_->config().hidden_size};
  const int64_t n_inner = step.down.n_cols;
  RETURN_IF_ERROR(context_->Multiply(normed, step.gate, places().gates, n_inner,
                                     dense ? t.gate.bias : *kNone));
  RETURN_IF_ERROR(context_->Multiply(normed, step.up, places().ups, n_inner,
                                     dense ? t.up.bias : *kNone));
  row_threads::GateTask gate = {};
  gate.gate = places().gates;
  gate.up = places().ups;
  gate.kind = GateOf(context_->host()->traits());
  gate.n_numbers = step.n_rows * n_inner;
  gate.out.floats = places().inner;
  RETURN_IF_ERROR(RunRows(gate, context_->stream()));
  return outputs
             ? context_->Multiply(
                   {places().inner, nullptr, step.n_rows, n_inner}, step.down,
                   places().outputs, context_->config().hidden_size,
                   dense ? t.down.bias : *kNone)
             : absl::OkStatus();
}

absl::Status DeviceFeedForwardGradient::BackStep(const Step& step,
                                                 const float* output) {
  DeviceStream* const stream = context_->stream();
  const BlockTensors& t = step.work.tensors;
  const bool dense = step.expert < 0;
  const int64_t n = step.n_rows;
  const int64_t n_hidden = context_->config().hidden_size;
  const int64_t n_inner = step.down.n_cols;
  RETURN_IF_ERROR(
      RunGradients(gradient_threads::RowNormTask{places().inner, n, n_inner,
                                                 n_inner, places().norms},
                   stream));
  RETURN_IF_ERROR(Show(step, dense ? t.down.weight : t.expert_down, output,
                       n_hidden, n_hidden, places().norms));
  RETURN_IF_ERROR(MultiplyGradient(context_, Update::kSet, n, output, n_hidden,
                                   step.down, places().inner_gradient));
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::GateGradientTask{
          places().gates, places().ups, places().inner_gradient,
          GateOf(context_->host()->traits()), n, n_inner, places().gate_up},
      stream));
  const WeightRows& gate = dense ? t.gate.weight : t.expert_gate;
  const WeightRows& up = dense ? t.up.weight : t.expert_up;
  // A fused tensor holds gates, then ups, as a row of gate_up does.
  const bool fused = dense && gate.tensor == up.tensor;
  RETURN_IF_ERROR(Show(step, gate, places().gate_up,
                       fused ? 2 * n_inner : n_inner, 2 * n_inner, nullptr));
  if (!fused) {
    RETURN_IF_ERROR(Show(step, up, places().gate_up + n_inner, n_inner,
                         2 * n_inner, nullptr));
  }
  RETURN_IF_ERROR(MultiplyGradient(context_, Update::kSet, n, places().gate_up,
                                   2 * n_inner, step.gate,
                                   places().normed_gradient));
  return MultiplyGradient(context_, Update::kAdd, n, places().gate_up + n_inner,
                          2 * n_inner, step.up, places().normed_gradient);
}

absl::Status DeviceFeedForwardGradient::Show(const Step& step,
                                             const WeightRows& layer,
                                             const float* rows, int64_t n_cols,
                                             int64_t stride,
                                             const float* norms) {
  LayerGradient shown;
  shown.name = layer.name();
  shown.expert = step.expert;
  shown.rows = rows;
  shown.n_rows = step.n_rows;
  shown.n_cols = n_cols;
  shown.stride = stride;
  shown.input_norms = norms;
  shown.first_token = step.first_token;
  shown.tokens = step.tokens;
  return showing_.Show(shown, step.work.observer);
}

absl::StatusOr<std::vector<DeviceFeedForwardGradient::Assigned>>
DeviceFeedForwardGradient::Route(const BlockWork& work,
                                 std::vector<float>* logits) {
  const ModelConfig& c = context_->config();
  const WeightRows& router = work.tensors.router;
  std::vector<float> matrix(static_cast<size_t>(router.n_rows * c.hidden_size));
  RETURN_IF_ERROR(ReadScaledRows(*context_->host()->model, *router.tensor,
                                 router.first_row, router.n_rows,
                                 matrix.data()));
  RETURN_IF_ERROR(context_->ToDevice(
      matrix.data(), static_cast<int64_t>(matrix.size() * sizeof(float)),
      places().router_matrix, router.name()));
  const int64_t n_experts = c.n_experts;
  RETURN_IF_ERROR(RunChainProduct(
      chain::GemmNT(Update::kSet, work.n_rows(), n_experts, c.hidden_size,
                    places().all_normed, c.hidden_size, places().router_matrix,
                    c.hidden_size, places().router, n_experts),
      context_->stream()));
  logits->resize(static_cast<size_t>(work.n_rows() * n_experts));
  RETURN_IF_ERROR(context_->ToHost(
      places().router, static_cast<int64_t>(logits->size() * sizeof(float)),
      logits->data(), "logits of experts"));
  std::vector<Assigned> experts(static_cast<size_t>(n_experts));
  for (int64_t r = 0; r < work.n_rows(); ++r) {
    for (const Choice& choice : ChooseExperts(
             {logits->data() + r * n_experts, static_cast<size_t>(n_experts)},
             c.n_experts_used, c.norm_topk_prob)) {
      Assigned& expert = experts[static_cast<size_t>(choice.expert)];
      expert.tokens.push_back(r);
      expert.weights.push_back(choice.weight);
    }
  }
  return experts;
}

absl::Status DeviceFeedForwardGradient::ForEachStep(
    const BlockWork& work, const std::vector<Assigned>& experts,
    const StepFn& use) {
  const ModelConfig& c = context_->config();
  const auto matrix = [&](DeviceContext::Matrix which, size_t expert) {
    return OfExpert(work.matrices[which], c.n_experts,
                    static_cast<int64_t>(expert));
  };
  for (size_t e = 0; e < experts.size(); ++e) {
    const absl::Span<const int64_t> tokens(experts[e].tokens);
    const absl::Span<const float> weights(experts[e].weights);
    for (size_t first = 0; first < tokens.size(); first += kStepRows) {
      const auto some = tokens.subspan(first, kStepRows);
      const auto n = static_cast<int64_t>(some.size());
      const Step step = {work,
                         static_cast<int>(e),
                         n,
                         0,
                         some,
                         matrix(DeviceContext::kGate, e),
                         matrix(DeviceContext::kUp, e),
                         matrix(DeviceContext::kDown, e)};
      const auto its_weights = weights.subspan(first, kStepRows);
      RETURN_IF_ERROR(context_->ToDevice(some.data(), 8 * n, places().tokens,
                                         "tokens of an expert"));
      RETURN_IF_ERROR(context_->ToDevice(
          its_weights.data(), 4 * n, places().weights, "weights of an expert"));
      RETURN_IF_ERROR(RunGradients(
          gradient_threads::PickScaledTask{places().all_normed, places().tokens,
                                           n, c.hidden_size, c.hidden_size,
                                           nullptr, false, places().normed},
          context_->stream()));
      RETURN_IF_ERROR(Forward(step, true));
      RETURN_IF_ERROR(use(step, its_weights));
    }
  }
  return absl::OkStatus();
}

absl::Status DeviceFeedForwardGradient::RunExperts(const BlockWork& work,
                                                   const float* input) {
  DeviceStream* const stream = context_->stream();
  const ModelConfig& c = context_->config();
  const int64_t n = work.n_rows();
  const size_t n_bytes = static_cast<size_t>(n * c.hidden_size) * sizeof(float);
  float* const gradient = memory_->places().gradient;
  row_threads::NormTask norm = {};
  norm.x = input;
  norm.weight = context_->vector(work.tensors.ffn_norm);
  norm.n_rows = n;
  norm.n = c.hidden_size;
  norm.eps = c.norm_eps;
  norm.out.floats = places().all_normed;
  RETURN_IF_ERROR(RunRows(norm, stream));
  std::vector<float> logits;
  ASSIGN_OR_RETURN(const std::vector<Assigned> experts, Route(work, &logits));
  if (work.tensors.post_ffn_norm.empty()) {
    RETURN_IF_ERROR(stream->Copy(gradient, n_bytes, places().all_outputs));
  } else {
    RETURN_IF_ERROR(stream->Fill(0, n_bytes, places().all_sums));
    RETURN_IF_ERROR(ForEachStep(
        work, experts, [&](const Step& step, absl::Span<const float>) {
          return RunGradients(
              gradient_threads::ScatterTask{
                  places().outputs, places().tokens, step.n_rows, c.hidden_size,
                  places().weights, places().all_sums},
              stream);
        }));
    RETURN_IF_ERROR(NormGradient(places().all_sums, work.tensors.post_ffn_norm,
                                 gradient, n, places().all_outputs));
  }
  RETURN_IF_ERROR(stream->Fill(0, n_bytes, places().all_gradient));
  RETURN_IF_ERROR(BackExperts(work, experts, std::move(logits)));
  return AddNormGradient(work, input, n, places().all_gradient, gradient);
}

// `shares` begin as the router's logits.
absl::Status DeviceFeedForwardGradient::BackExperts(
    const BlockWork& work, const std::vector<Assigned>& experts,
    std::vector<float> shares) {
  DeviceStream* const stream = context_->stream();
  const ModelConfig& c = context_->config();
  const int64_t n_experts = c.n_experts;
  std::vector<float> router(shares.size());
  if (c.norm_topk_prob) {
    // Rescaled weights are known from the steps.
    std::fill(shares.begin(), shares.end(), 0.0f);
  } else {
    for (int64_t r = 0; r < work.n_rows(); ++r) {
      RouterSoftmax(n_experts, shares.data() + r * n_experts);
    }
  }
  RETURN_IF_ERROR(ForEachStep(
      work, experts,
      [&](const Step& step, absl::Span<const float> weights) -> absl::Status {
        RETURN_IF_ERROR(RunGradients(
            gradient_threads::DotTask{places().all_outputs, places().tokens,
                                      places().outputs, step.n_rows,
                                      c.hidden_size, places().dots},
            stream));
        std::vector<float> dots(static_cast<size_t>(step.n_rows));
        RETURN_IF_ERROR(context_->ToHost(places().dots, 4 * step.n_rows,
                                         dots.data(), "weights of an expert"));
        for (size_t r = 0; r < dots.size(); ++r) {
          const auto at =
              static_cast<size_t>(step.tokens[r] * n_experts + step.expert);
          router[at] = dots[r];
          if (c.norm_topk_prob) {
            shares[at] = weights[r];
          }
        }
        RETURN_IF_ERROR(RunGradients(
            gradient_threads::PickScaledTask{
                places().all_outputs, places().tokens, step.n_rows,
                c.hidden_size, c.hidden_size, places().weights, true,
                places().output_gradient},
            stream));
        RETURN_IF_ERROR(BackStep(step, places().output_gradient));
        return RunGradients(
            gradient_threads::ScatterTask{
                places().normed_gradient, places().tokens, step.n_rows,
                c.hidden_size, nullptr, places().all_gradient},
            stream);
      }));
  for (int64_t r = 0; r < work.n_rows(); ++r) {
    RouterSoftmaxGradient(shares.data() + r * n_experts, n_experts,
                          router.data() + r * n_experts);
  }
  return AddRouter(work, router);
}

absl::Status DeviceFeedForwardGradient::AddRouter(
    const BlockWork& work, const std::vector<float>& gradients) {
  const ModelConfig& c = context_->config();
  if (work.observer != nullptr) {
    LayerGradient shown;
    shown.name = work.tensors.router.name();
    shown.rows = gradients.data();
    shown.n_rows = work.n_rows();
    shown.n_cols = shown.stride = c.n_experts;
    RETURN_IF_ERROR(work.observer->OnGradient(shown));
  }
  RETURN_IF_ERROR(context_->ToDevice(
      gradients.data(), static_cast<int64_t>(gradients.size() * sizeof(float)),
      places().router, "gradients of the router"));
  return RunChainProduct(
      chain::Gemm(Update::kAdd, work.n_rows(), c.hidden_size, c.n_experts,
                  places().router, c.n_experts, places().router_matrix,
                  c.hidden_size, places().all_gradient, c.hidden_size),
      context_->stream());
}

}  // namespace narrow
