#include "calibration/backward/layers/attention_gradient.h"

#include <algorithm>
#include <memory>

#include "calibration/backward/layers/row_gradients.h"
#include "calibration/linear.h"
#include "formats/base/status.h"
#include "kernels/linalg/gemm.h"

namespace narrow {
namespace {

// What a key-value head's task reads and writes. Token t's vectors begin at
// t * stride; query heads of the group follow each other.
struct HeadTask {
  AttentionShape shape;
  int64_t stride;
  const float *q, *k, *v;
  float *q_gradient, *k_gradient, *v_gradient;
  int64_t out_stride;
  const float* out_gradient;
};

// Some queries of all heads of a group, the first head's tokens first, and
// the keys that any of them sees.
struct Tile {
  int64_t first_token, n_tokens;
  int64_t first_key, n_keys;
  int64_t n_rows;

  int64_t head(int64_t r) const { return r / n_tokens; }
  int64_t token(int64_t r) const { return first_token + r % n_tokens; }
};

// Kept by the thread.
struct Scratch {
  std::vector<float> queries;  // [n_rows, head_dim], scaled
  std::vector<float> outputs;  // [n_rows, head_dim], gradients
  std::vector<float> capped;   // [n_keys], scores of a row
  std::vector<float> shares;   // [n_rows, n_keys], p
  std::vector<float> scores;   // [n_rows, n_keys], gradients
  std::vector<float> turned;   // [n_keys, n_rows], one of the two transposed
  std::vector<float> sums;     // [n_rows, head_dim]
};

void Transpose(const std::vector<float>& from, int64_t n_rows, int64_t n_cols,
               std::vector<float>* to) {
  constexpr int64_t kSide = 16;  // of squares that stay in cache
  to->resize(static_cast<size_t>(n_rows * n_cols));
  for (int64_t r0 = 0; r0 < n_rows; r0 += kSide) {
    const int64_t r1 = std::min(n_rows, r0 + kSide);
    for (int64_t c0 = 0; c0 < n_cols; c0 += kSide) {
      const int64_t c1 = std::min(n_cols, c0 + kSide);
      for (int64_t r = r0; r < r1; ++r) {
        for (int64_t c = c0; c < c1; ++c) {
          (*to)[static_cast<size_t>(c * n_rows + r)] =
              from[static_cast<size_t>(r * n_cols + c)];
        }
      }
    }
  }
}

void Gather(const RowKernels& rows, const HeadTask& task, const Tile& tile,
            Scratch* scratch) {
  const int64_t d = task.shape.head_dim;
  scratch->queries.resize(static_cast<size_t>(tile.n_rows * d));
  scratch->outputs.resize(scratch->queries.size());
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    rows.scale(task.q + tile.token(r) * task.stride + tile.head(r) * d,
               task.shape.scale, d, scratch->queries.data() + r * d);
    std::copy_n(
        task.out_gradient + tile.token(r) * task.out_stride + tile.head(r) * d,
        d, scratch->outputs.data() + r * d);
  }
}

// Row r: scores and the gradients at its shares become its shares and the
// gradients at the scores; 0 for keys that are not seen.
void SoftmaxGradient(const RowKernels& rows, const HeadTask& task,
                     const Tile& tile, int64_t r, Scratch* scratch) {
  const AttentionShape& shape = task.shape;
  const int64_t t = tile.token(r);
  const int64_t begin =
      shape.window > 0
          ? std::max(tile.first_key, t - shape.window + 1) - tile.first_key
          : 0;
  const int64_t end = t + 1 - tile.first_key;
  float* shares = scratch->shares.data() + r * tile.n_keys;
  float* gradient = scratch->scores.data() + r * tile.n_keys;
  for (float* row : {shares, gradient}) {
    std::fill(row, row + begin, 0.0f);
    std::fill(row + end, row + tile.n_keys, 0.0f);
  }
  const int64_t n = end - begin;
  float* p = shares + begin;
  float* g = gradient + begin;
  if (shape.soft_cap > 0) {
    rows.soft_cap(shape.soft_cap, n, p);
    scratch->capped.assign(p, p + n);
  }
  const double total = rows.exp_in_place(rows.max(p, n), n, p);
  rows.scale(p, static_cast<float>(1.0 / total), n, p);
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) {
    mean += static_cast<double>(p[i]) * static_cast<double>(g[i]);
  }
  const float shift = static_cast<float>(mean);
  for (int64_t i = 0; i < n; ++i) {
    g[i] = p[i] * (g[i] - shift);
  }
  if (shape.soft_cap > 0) {
    SoftCapGradient(shape.soft_cap, scratch->capped.data(), n, g);
  }
}

void RunTile(const RowKernels& rows, const HeadTask& task, const Tile& tile,
             Scratch* scratch) {
  const int64_t d = task.shape.head_dim;
  const int64_t n = tile.n_keys, n_rows = tile.n_rows;
  const int64_t at = tile.first_key * task.stride;
  Gather(rows, task, tile, scratch);
  scratch->shares.resize(static_cast<size_t>(n_rows * n));
  scratch->scores.resize(scratch->shares.size());
  scratch->sums.resize(scratch->queries.size());
  const float* queries = scratch->queries.data();
  const float* outputs = scratch->outputs.data();
  GemmNT(nullptr, Update::kSet, n_rows, n, d, queries, d, task.k + at,
         task.stride, scratch->shares.data(), n);
  GemmNT(nullptr, Update::kSet, n_rows, n, d, outputs, d, task.v + at,
         task.stride, scratch->scores.data(), n);
  for (int64_t r = 0; r < n_rows; ++r) {
    SoftmaxGradient(rows, task, tile, r, scratch);
  }
  Transpose(scratch->shares, n_rows, n, &scratch->turned);
  Gemm(nullptr, Update::kAdd, n, d, n_rows, scratch->turned.data(), n_rows,
       outputs, d, task.v_gradient + at, task.stride);
  Transpose(scratch->scores, n_rows, n, &scratch->turned);
  Gemm(nullptr, Update::kAdd, n, d, n_rows, scratch->turned.data(), n_rows,
       queries, d, task.k_gradient + at, task.stride);
  Gemm(nullptr, Update::kSet, n_rows, d, n, scratch->scores.data(), n,
       task.k + at, task.stride, scratch->sums.data(), d);
  for (int64_t r = 0; r < n_rows; ++r) {
    rows.scale(
        scratch->sums.data() + r * d, task.shape.scale, d,
        task.q_gradient + tile.token(r) * task.stride + tile.head(r) * d);
  }
}

void RunHead(const RowKernels& rows, const HeadTask& task) {
  static thread_local Scratch scratch;
  const AttentionShape& shape = task.shape;
  for (int64_t first = 0; first < shape.n_tokens; first += kQueryTile) {
    Tile tile;
    tile.first_token = first;
    tile.n_tokens = std::min(kQueryTile, shape.n_tokens - first);
    tile.n_rows = tile.n_tokens * shape.group;
    tile.first_key =
        shape.window > 0 ? std::max<int64_t>(0, first - shape.window + 1) : 0;
    tile.n_keys = first + tile.n_tokens - tile.first_key;
    RunTile(rows, task, tile, &scratch);
  }
}

}  // namespace

AttentionGradient::Layout AttentionGradient::layout() const {
  const ModelConfig& c = context_->config();
  Layout layout;
  layout.n_query = c.n_heads * c.head_dim;
  layout.n_key = c.n_kv_heads * c.head_dim;
  layout.width = layout.n_query + 2 * layout.n_key;
  return layout;
}

absl::Status AttentionGradient::Run(const BlockTensors& block, bool sliding,
                                    const RopeTable& transposed,
                                    const HiddenStates& input,
                                    const AttentionTrace& trace,
                                    GradientObserver* observer,
                                    float* gradient) {
  const int64_t n_hidden = input.hidden_size;
  n_rows_ = input.n_windows * input.window_tokens;
  RETURN_IF_ERROR(OutputLayer(block, trace, observer, gradient));
  Attend(sliding, input.n_windows, input.window_tokens, trace.qkv.data());
  NormAndRotate(block, transposed, input.window_tokens, trace);
  RETURN_IF_ERROR(ObserveInputs(block, observer));

  const WeightRows parts[] = {block.q.weight, block.k.weight, block.v.weight};
  ASSIGN_OR_RETURN(const auto weights, weights_->Get(parts));
  const int64_t width = layout().width;
  normed_.resize(static_cast<size_t>(n_rows_ * n_hidden));
  Gemm(&context_->pool, Update::kSet, n_rows_, n_hidden, width, qkv_.data(),
       width, weights->values.data(), n_hidden, normed_.data(), n_hidden);
  ForEachRow(&context_->pool, n_rows_, [&](int64_t r) {
    float* row = normed_.data() + r * n_hidden;
    RmsNormGradient(input.row(0, r), block.attn_norm.data(), n_hidden,
                    context_->config().norm_eps, row);
    context_->rows.add_scaled(row, 1, n_hidden, gradient + r * n_hidden);
  });
  return absl::OkStatus();
}

absl::Status AttentionGradient::OutputLayer(const BlockTensors& block,
                                            const AttentionTrace& trace,
                                            GradientObserver* observer,
                                            const float* gradient) {
  const ModelConfig& c = context_->config();
  const int64_t n_hidden = c.hidden_size;
  const int64_t n_query = layout().n_query;
  output_.assign(gradient, gradient + n_rows_ * n_hidden);
  if (!block.post_attn_norm.empty()) {
    ForEachRow(&context_->pool, n_rows_, [&](int64_t r) {
      RmsNormGradient(trace.output.data() + r * n_hidden,
                      block.post_attn_norm.data(), n_hidden, c.norm_eps,
                      output_.data() + r * n_hidden);
    });
  }
  if (observer != nullptr) {
    LayerGradient shown;
    shown.name = block.attn_output.weight.name();
    shown.rows = output_.data();
    shown.n_rows = n_rows_;
    shown.n_cols = shown.stride = n_hidden;
    const std::vector<float> norms = RowNorms(
        &context_->pool, trace.attended.data(), n_rows_, layout().n_query);
    shown.input_norms = norms.data();
    RETURN_IF_ERROR(observer->OnGradient(shown));
  }
  ASSIGN_OR_RETURN(const auto weights,
                   weights_->Get({&block.attn_output.weight, 1}));
  attended_.resize(static_cast<size_t>(n_rows_ * n_query));
  Gemm(&context_->pool, Update::kSet, n_rows_, n_query, n_hidden,
       output_.data(), n_hidden, weights->values.data(), n_query,
       attended_.data(), n_query);
  return absl::OkStatus();
}

void AttentionGradient::Attend(bool sliding, int64_t n_windows,
                               int64_t window_tokens, const float* qkv) {
  const ModelConfig& c = context_->config();
  const auto [n_query, n_key, width] = layout();
  HeadTask any;
  any.shape.n_tokens = window_tokens;
  any.shape.group = c.n_heads / c.n_kv_heads;
  any.shape.head_dim = c.head_dim;
  any.shape.window = sliding ? c.sliding_window : 0;
  any.shape.scale = c.attention_scale;
  any.shape.soft_cap = c.attn_logit_softcap;
  any.stride = width;
  any.out_stride = n_query;

  qkv_.assign(static_cast<size_t>(n_rows_ * width), 0.0f);
  context_->pool.ParallelFor(n_windows * c.n_kv_heads, [&](int64_t i) {
    const int64_t window = i / c.n_kv_heads, head = i % c.n_kv_heads;
    const int64_t row = window * window_tokens;
    const int64_t query = head * any.shape.group * c.head_dim;
    const int64_t at = row * width;
    const int64_t key = at + layout().n_query + head * c.head_dim;
    const int64_t value = key + layout().n_key;
    HeadTask task = any;
    task.q = qkv + at + query;
    task.k = qkv + key;
    task.v = qkv + value;
    task.q_gradient = qkv_.data() + at + query;
    task.k_gradient = qkv_.data() + key;
    task.v_gradient = qkv_.data() + value;
    task.out_gradient = attended_.data() + row * layout().n_query + query;
    RunHead(context_->rows, task);
  });
}

void AttentionGradient::NormAndRotate(const BlockTensors& block,
                                      const RopeTable& transposed,
                                      int64_t window_tokens,
                                      const AttentionTrace& trace) {
  const RowKernels& rows = context_->rows;
  const ModelConfig& c = context_->config();
  const auto rotate = context_->traits().rope == BlockTraits::Rope::kInterleaved
                          ? rows.rotate_pairs
                          : rows.rotate_halves;
  const int64_t width = layout().width;
  ForEachRow(&context_->pool, n_rows_, [&](int64_t r) {
    const int64_t position = r % window_tokens;
    for (int64_t head = 0; head < c.n_heads + c.n_kv_heads; ++head) {
      const int64_t at = r * width + head * c.head_dim;
      rotate(transposed.cosines_at(position), transposed.sines_at(position),
             transposed.n_pairs, qkv_.data() + at);
      const std::vector<float>& norm =
          head < c.n_heads ? block.q_norm : block.k_norm;
      if (!norm.empty()) {
        RmsNormGradient(trace.projected_qkv.data() + at, norm.data(),
                        c.head_dim, c.norm_eps, qkv_.data() + at);
      }
    }
  });
}

absl::Status AttentionGradient::ObserveInputs(
    const BlockTensors& block, GradientObserver* observer) const {
  if (observer == nullptr) {
    return absl::OkStatus();
  }
  LayerGradient shown;
  shown.n_rows = n_rows_;
  shown.stride = layout().width;
  shown.rows = qkv_.data();
  const WeightRows* const parts[] = {&block.q.weight, &block.k.weight,
                                     &block.v.weight};
  for (size_t i = 0; i < 3; ++i) {
    shown.n_cols += parts[i]->n_rows;
    // Parts of one fused tensor are one layer.
    if (i < 2 && parts[i + 1]->tensor == parts[i]->tensor) {
      continue;
    }
    shown.name = parts[i]->name();
    RETURN_IF_ERROR(observer->OnGradient(shown));
    shown.rows += shown.n_cols;
    shown.n_cols = 0;
  }
  return absl::OkStatus();
}

}  // namespace narrow
