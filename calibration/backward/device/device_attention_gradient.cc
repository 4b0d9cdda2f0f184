// Tested by: device_gradient_test.

#include "calibration/backward/device/device_attention_gradient.h"

#include <algorithm>

#include "formats/base/status.h"
#include "kernels/attention/attention.h"
#include "kernels/gradients/device/device_gradients.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

using gradient_threads::QueryChunk;

static_assert(gradient_threads::kTileTokens == kQueryTile,
              "rows have the processor's order");

}  // namespace

DeviceAttentionGradient::Layout DeviceAttentionGradient::layout() const {
  const ModelConfig& c = context_->config();
  const int64_t n_query = c.n_heads * c.head_dim;
  const int64_t n_key = c.n_kv_heads * c.head_dim;
  return {n_query, n_key, n_query + 2 * n_key};
}

absl::StatusOr<bool> DeviceAttentionGradient::Forward(const BlockWork& work,
                                                      HiddenStates* hidden) {
  const bool fits = work.n_windows <= memory_->shape().part_windows;
  RETURN_IF_ERROR(Trace({work, 0, work.n_windows}, fits, hidden));
  return fits;
}

absl::Status DeviceAttentionGradient::Trace(const Part& part, bool keep,
                                            HiddenStates* hidden) {
  const int64_t n_hidden = context_->config().hidden_size;
  hidden->n_windows = part.n_windows;
  hidden->window_tokens = part.work.window_tokens;
  hidden->hidden_size = n_hidden;
  hidden->first_window = part.work.first_window + part.first_window;
  RETURN_IF_ERROR(context_->stream()->Copy(
      places().input + part.first_row() * n_hidden,
      static_cast<size_t>(part.n_rows() * n_hidden) * sizeof(float),
      hidden->on_device.data()));
  DeviceObserving nobody(context_);
  return layer_->Run(part.work.block, part.work.tensors, part.work.matrices,
                     part.work.rope, PartEnd::kOutput, &nobody, hidden,
                     keep ? &places().attention.trace : nullptr);
}

absl::Status DeviceAttentionGradient::Run(const BlockWork& work, bool traced,
                                          HiddenStates* hidden) {
  const int64_t step = traced ? work.n_windows : memory_->shape().part_windows;
  Shown collected;
  for (int64_t first = 0; first < work.n_windows; first += step) {
    const Part part = {work, first, std::min(step, work.n_windows - first)};
    if (!traced) {
      RETURN_IF_ERROR(Trace(part, true, hidden));
    }
    RETURN_IF_ERROR(OutputLayer(part));
    RETURN_IF_ERROR(Attend(part));
    RETURN_IF_ERROR(NormAndRotate(part));
    if (!traced) {
      RETURN_IF_ERROR(Collect(part, &collected));
    }
    RETURN_IF_ERROR(AddInput(part));
  }
  return ShowAll(work, traced ? nullptr : &collected);
}

absl::Status DeviceAttentionGradient::OutputLayer(const Part& part) {
  DeviceStream* const stream = context_->stream();
  const GradientPlaces::Attention& at = places().attention;
  const BlockTensors& tensors = part.work.tensors;
  const int64_t n = part.n_rows();
  const int64_t n_hidden = context_->config().hidden_size;
  const float* const gradient = places().gradient + part.first_row() * n_hidden;
  if (tensors.post_attn_norm.empty()) {
    RETURN_IF_ERROR(stream->Copy(
        gradient, static_cast<size_t>(n * n_hidden) * sizeof(float),
        at.output));
  } else {
    gradient_threads::NormGradientTask norm = {};
    norm.x = at.trace.output;
    norm.weight = context_->vector(tensors.post_attn_norm);
    norm.gradient = gradient;
    norm.n_rows = n;
    norm.n = n_hidden;
    norm.eps = context_->config().norm_eps;
    norm.out = at.output;
    RETURN_IF_ERROR(RunGradients(norm, stream));
  }
  const int64_t n_query = layout().n_query;
  RETURN_IF_ERROR(
      RunGradients(gradient_threads::RowNormTask{at.trace.attended, n, n_query,
                                                 n_query, at.norms},
                   stream));
  return MultiplyGradient(context_, Update::kSet, n, at.output, n_hidden,
                          part.work.matrices[DeviceContext::kAttnOutput],
                          at.attended);
}

absl::Status DeviceAttentionGradient::Attend(const Part& part) {
  const ModelConfig& c = context_->config();
  RETURN_IF_ERROR(context_->stream()->Fill(
      0, static_cast<size_t>(part.n_rows() * layout().width) * sizeof(float),
      places().attention.qkv));
  const int64_t window = IsSliding(c, part.work.block) ? c.sliding_window : 0;
  const int64_t n_tokens = part.work.window_tokens;
  const int64_t step = memory_->shape().chunk_tokens;
  for (int64_t row = 0; row < part.n_rows(); row += n_tokens) {
    for (int64_t first = 0; first < n_tokens; first += step) {
      const QueryChunk chunk = {first, std::min(step, n_tokens - first),
                                c.n_heads / c.n_kv_heads, c.n_kv_heads};
      RETURN_IF_ERROR(AttendChunk(row, chunk, window));
    }
  }
  return absl::OkStatus();
}

// Of the window whose first token is in row `row` of the part.
absl::Status DeviceAttentionGradient::AttendChunk(int64_t row,
                                                  const QueryChunk& chunk,
                                                  int64_t window) {
  DeviceStream* const stream = context_->stream();
  const ModelConfig& c = context_->config();
  const GradientPlaces::Attention& at = places().attention;
  const auto [n_query, n_key, width] = layout();
  const int64_t d = c.head_dim;
  const int64_t first_key =
      window > 0 ? std::max<int64_t>(0, chunk.first_token - window + 1) : 0;
  const int64_t n_keys = chunk.first_token + chunk.n_tokens - first_key;
  const int64_t rows = chunk.head_rows();
  const float* const keys = at.trace.qkv + (row + first_key) * width + n_query;
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::GatherQueriesTask{
          chunk, at.trace.qkv + row * width, width, at.attended + row * n_query,
          n_query, d, c.attention_scale, at.queries, at.outputs},
      stream));
  // Both with the keys, or the values, of each head.
  const auto with_keys = [&](const float* left, const float* right,
                             float* out) {
    auto product = chain::GemmNT(Update::kSet, rows, n_keys, d, left, d, right,
                                 width, out, n_keys);
    product.n_batch = chunk.n_heads;
    product.left_step = rows * d;
    product.right_step = d;
    product.out_step = rows * n_keys;
    return RunChainProduct(product, stream);
  };
  RETURN_IF_ERROR(with_keys(at.queries, keys, at.shares));
  RETURN_IF_ERROR(with_keys(at.outputs, keys + n_key, at.scores));
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::ShareGradientTask{chunk, chunk.n_rows(), first_key,
                                          n_keys, window, c.attn_logit_softcap,
                                          at.shares, at.scores, at.capped},
      stream));
  RETURN_IF_ERROR(AddKeyGradients(chunk, row, first_key, n_keys));
  auto product = chain::Gemm(Update::kSet, rows, d, n_keys, at.scores, n_keys,
                             keys, width, at.sums, d);
  product.n_batch = chunk.n_heads;
  product.left_step = rows * n_keys;
  product.right_step = d;
  product.out_step = rows * d;
  RETURN_IF_ERROR(RunChainProduct(product, stream));
  return RunGradients(
      gradient_threads::ScatterQueriesTask{chunk, at.sums, d, c.attention_scale,
                                           at.qkv + row * width, width},
      stream);
}

// What a chunk adds to the gradients at values and keys: chains over its rows
// that go on from chunk to chunk.
absl::Status DeviceAttentionGradient::AddKeyGradients(const QueryChunk& chunk,
                                                      int64_t row,
                                                      int64_t first_key,
                                                      int64_t n_keys) {
  const GradientPlaces::Attention& at = places().attention;
  const auto [n_query, n_key, width] = layout();
  const int64_t d = context_->config().head_dim;
  const int64_t rows = chunk.head_rows();
  float* const keys = at.qkv + (row + first_key) * width + n_query;
  const auto add = [&](const float* weights, const float* vectors, float* out) {
    chain::Product<float> product;
    product.update = Update::kAdd;
    product.m = n_keys;
    product.n = d;
    product.k = rows;
    product.left = {weights, 1, n_keys};
    product.right = {vectors, 1, d};
    product.out = out;
    product.out_row = width;
    product.n_batch = chunk.n_heads;
    product.left_step = rows * n_keys;
    product.right_step = rows * d;
    product.out_step = d;
    return RunChainProduct(product, context_->stream());
  };
  RETURN_IF_ERROR(add(at.shares, at.outputs, keys + n_key));
  return add(at.scores, at.queries, keys);
}

absl::Status DeviceAttentionGradient::NormAndRotate(const Part& part) {
  DeviceStream* const stream = context_->stream();
  const ModelConfig& c = context_->config();
  const GradientPlaces::Attention& at = places().attention;
  const int64_t width = layout().width;
  row_threads::RotateTask rotate = {};
  rotate.x = at.qkv;
  rotate.cosines = part.work.transposed.cosines;
  rotate.sines = part.work.transposed.sines;
  rotate.n_tokens = part.n_rows();
  rotate.n_heads = c.n_heads + c.n_kv_heads;
  rotate.head_dim = c.head_dim;
  rotate.stride = width;
  rotate.n_pairs = part.work.transposed.n_pairs;
  rotate.halves = context_->host()->traits().rope == BlockTraits::Rope::kHalves;
  rotate.n_positions = part.work.window_tokens;
  RETURN_IF_ERROR(RunRows(rotate, stream));
  const auto norm = [&](const std::vector<float>& weight, int64_t n_heads,
                        int64_t first_col) -> absl::Status {
    if (weight.empty()) {
      return absl::OkStatus();
    }
    gradient_threads::NormGradientTask task = {};
    task.x = at.trace.projected_qkv + first_col;
    task.weight = context_->vector(weight);
    task.gradient = at.qkv + first_col;
    task.n_rows = part.n_rows() * n_heads;
    task.n = c.head_dim;
    task.eps = c.norm_eps;
    task.out = at.qkv + first_col;
    task.n_heads = n_heads;
    task.stride = width;
    return RunGradients(task, stream);
  };
  RETURN_IF_ERROR(norm(part.work.tensors.q_norm, c.n_heads, 0));
  return norm(part.work.tensors.k_norm, c.n_kv_heads, layout().n_query);
}

// gradient += that at the half's input.
absl::Status DeviceAttentionGradient::AddInput(const Part& part) {
  const GradientPlaces::Attention& at = places().attention;
  const int64_t n_hidden = context_->config().hidden_size;
  const float* from = at.qkv;
  Update update = Update::kSet;
  for (const auto which :
       {DeviceContext::kQ, DeviceContext::kK, DeviceContext::kV}) {
    const DeviceMatrix& matrix = part.work.matrices[which];
    RETURN_IF_ERROR(MultiplyGradient(context_, update, part.n_rows(), from,
                                     layout().width, matrix, at.normed));
    from += matrix.n_rows;
    update = Update::kAdd;
  }
  gradient_threads::NormGradientTask norm = {};
  norm.x = places().input + part.first_row() * n_hidden;
  norm.weight = context_->vector(part.work.tensors.attn_norm);
  norm.gradient = at.normed;
  norm.n_rows = part.n_rows();
  norm.n = n_hidden;
  norm.eps = context_->config().norm_eps;
  norm.out = places().gradient + part.first_row() * n_hidden;
  norm.add = true;
  return RunGradients(norm, context_->stream());
}

absl::Status DeviceAttentionGradient::Collect(const Part& part, Shown* shown) {
  const GradientPlaces::Attention& at = places().attention;
  const auto take = [&](const float* from, int64_t n_cols,
                        std::vector<float>* to) {
    const size_t n = static_cast<size_t>(part.n_rows() * n_cols);
    to->resize(to->size() + n);
    return context_->ToHost(from, static_cast<int64_t>(n * sizeof(float)),
                            to->data() + (to->size() - n),
                            "gradients of the attention half");
  };
  RETURN_IF_ERROR(
      take(at.output, context_->config().hidden_size, &shown->output));
  RETURN_IF_ERROR(take(at.norms, 1, &shown->norms));
  return take(at.qkv, layout().width, &shown->qkv);
}

// `collected`: on the host, or nullptr: all is in its place.
absl::Status DeviceAttentionGradient::ShowAll(const BlockWork& work,
                                              const Shown* collected) {
  if (work.observer == nullptr) {
    return absl::OkStatus();
  }
  const GradientPlaces::Attention& at = places().attention;
  const auto show = [&](const LayerGradient& shown) {
    return collected != nullptr ? work.observer->OnGradient(shown)
                                : showing_.Show(shown, work.observer);
  };
  LayerGradient shown;
  shown.name = work.tensors.attn_output.weight.name();
  shown.rows = collected != nullptr ? collected->output.data() : at.output;
  shown.n_rows = work.n_rows();
  shown.n_cols = shown.stride = context_->config().hidden_size;
  shown.input_norms = collected != nullptr ? collected->norms.data() : at.norms;
  RETURN_IF_ERROR(show(shown));

  shown.input_norms = nullptr;
  shown.n_cols = 0;
  shown.stride = layout().width;
  shown.rows = collected != nullptr ? collected->qkv.data() : at.qkv;
  const WeightRows* const parts[] = {
      &work.tensors.q.weight, &work.tensors.k.weight, &work.tensors.v.weight};
  for (size_t i = 0; i < 3; ++i) {
    shown.n_cols += parts[i]->n_rows;
    // Parts of one fused tensor are one layer.
    if (i < 2 && parts[i + 1]->tensor == parts[i]->tensor) {
      continue;
    }
    shown.name = parts[i]->name();
    RETURN_IF_ERROR(show(shown));
    shown.rows += shown.n_cols;
    shown.n_cols = 0;
  }
  return absl::OkStatus();
}

}  // namespace narrow
