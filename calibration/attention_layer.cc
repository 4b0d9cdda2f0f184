#include "calibration/attention_layer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

void Append(const std::vector<float>& from, std::vector<float>* to) {
  to->insert(to->end(), from.begin(), from.end());
}

}  // namespace

absl::StatusOr<AttentionLayer::Matrices> AttentionLayer::Unpack(
    const BlockTensors& block, PartEnd end) {
  const ScopedTimer timer(&context_->times->weights);
  PackedWeights& weights = context_->weights;
  Matmul* products = &context_->products;
  Matrices matrices;
  if (end == PartEnd::kInput) {
    return matrices;
  }
  ASSIGN_OR_RETURN(matrices.q, weights.Get(block.q.weight, products));
  ASSIGN_OR_RETURN(matrices.k, weights.Get(block.k.weight, products));
  ASSIGN_OR_RETURN(matrices.v, weights.Get(block.v.weight, products));
  if (end == PartEnd::kOutput) {
    ASSIGN_OR_RETURN(matrices.output,
                     weights.Get(block.attn_output.weight, products));
  }
  return matrices;
}

absl::Status AttentionLayer::Run(const BlockTensors& block, bool sliding,
                                 const RopeTable& rope, PartEnd end,
                                 Observer* observer, HiddenStates* hidden,
                                 AttentionTrace* trace) {
  ASSIGN_OR_RETURN(const Matrices matrices, Unpack(block, end));
  const int64_t n_tokens = hidden->window_tokens;
  const int64_t step = WindowsPerStep(*hidden);
  for (int64_t window = 0; window < hidden->n_windows; window += step) {
    const int64_t n_windows = std::min(step, hidden->n_windows - window);
    const int64_t first_row = window * n_tokens;
    {
      const ScopedTimer timer(&context_->times->qkv);
      RETURN_IF_ERROR(
          NormInput(block, observer, *hidden, first_row, n_windows * n_tokens));
      if (end == PartEnd::kInput) {
        continue;
      }
      Project(block, matrices);
      if (trace != nullptr && !block.q_norm.empty()) {
        Append(qkv_, &trace->projected_qkv);
      }
      RETURN_IF_ERROR(
          NormAndRotate(block, rope, hidden->first_window + window, n_tokens));
    }
    {
      const ScopedTimer timer(&context_->times->attention);
      RETURN_IF_ERROR(Attend(sliding, n_windows, n_tokens));
    }
    if (trace != nullptr) {
      Append(qkv_, &trace->qkv);
      Append(attended_.values, &trace->attended);
    }
    const ScopedTimer timer(&context_->times->attention_output);
    RETURN_IF_ERROR(Observe(observer, block.attn_output.weight.name(),
                            first_row, attended_,
                            block.post_attn_norm.empty() ? hidden : nullptr));
    if (end == PartEnd::kOutput) {
      AddOutput(block, *matrices.output, hidden, first_row, trace);
    }
  }
  return absl::OkStatus();
}

absl::Status AttentionLayer::End(const BlockTensors& block, const float* inner,
                                 HiddenStates* hidden) {
  std::shared_ptr<const PackedMatrix> output;
  {
    const ScopedTimer timer(&context_->times->weights);
    ASSIGN_OR_RETURN(output, context_->weights.Get(block.attn_output.weight,
                                                   &context_->products));
  }
  const ScopedTimer timer(&context_->times->attention_output);
  const int64_t n_cols = block.attn_output.weight.n_cols();
  const int64_t n_all = hidden->n_windows * hidden->window_tokens;
  const int64_t step = WindowsPerStep(*hidden) * hidden->window_tokens;
  for (int64_t first = 0; first < n_all; first += step) {
    attended_.Borrow(inner + first * n_cols, std::min(step, n_all - first),
                     n_cols, context_->products.type());
    ForEachRow(&context_->pool, attended_.n_rows,
               [&](int64_t r) { attended_.Round(r, context_->rows); });
    AddOutput(block, *output, hidden, first, /*trace=*/nullptr);
  }
  return absl::OkStatus();
}

absl::Status AttentionLayer::NormInput(const BlockTensors& block,
                                       Observer* observer,
                                       const HiddenStates& hidden,
                                       int64_t first_row, int64_t n_rows) {
  const RowKernels& rows = context_->rows;
  const int64_t n_hidden = hidden.hidden_size;
  normed_.Resize(n_rows, n_hidden, context_->products.type());
  ForEachRow(&context_->pool, n_rows, [&](int64_t r) {
    rows.rms_norm(hidden.row(0, first_row + r), block.attn_norm.data(),
                  n_hidden, context_->config().norm_eps, normed_.row(r));
    normed_.Round(r, rows);
  });
  const CheckpointTensor* seen = nullptr;
  for (const LinearTensors* layer : {&block.q, &block.k, &block.v}) {
    // Parts of one fused tensor are one multiplication.
    if (layer->weight.tensor != seen) {
      RETURN_IF_ERROR(
          Observe(observer, layer->weight.name(), first_row, normed_));
    }
    seen = layer->weight.tensor;
  }
  return absl::OkStatus();
}

void AttentionLayer::Project(const BlockTensors& block,
                             const Matrices& matrices) {
  const RowKernels& rows = context_->rows;
  const LinearTensors* layers[] = {&block.q, &block.k, &block.v};
  const int64_t starts[] = {0, block.q.weight.n_rows,
                            block.q.weight.n_rows + block.k.weight.n_rows};
  const int64_t width = starts[2] + block.v.weight.n_rows;
  qkv_.resize(static_cast<size_t>(normed_.n_rows * width));
  ForEachTile(&context_->products, &context_->pool, normed_,
              {matrices.q.get(), matrices.k.get(), matrices.v.get()},
              [&](size_t which, const Tile& tile) {
                AddBias(rows, layers[which]->bias, tile);
                for (int64_t r = 0; r < tile.n_rows; ++r) {
                  std::copy_n(tile.values + r * tile.n_cols, tile.n_cols,
                              qkv_.data() + (tile.first_row + r) * width +
                                  starts[which] + tile.first_col);
                }
              });
}

absl::Status AttentionLayer::NormAndRotate(const BlockTensors& block,
                                           const RopeTable& rope,
                                           int64_t first_window,
                                           int64_t window_tokens) {
  const RowKernels& rows = context_->rows;
  const ModelConfig& c = context_->config();
  const auto rotate = context_->traits().rope == BlockTraits::Rope::kInterleaved
                          ? rows.rotate_pairs
                          : rows.rotate_halves;
  const int64_t width = (c.n_heads + 2 * c.n_kv_heads) * c.head_dim;
  FirstRow bad;
  ForEachRow(&context_->pool, normed_.n_rows, [&](int64_t r) {
    const int64_t position = r % window_tokens;
    for (int64_t head = 0; head < c.n_heads + c.n_kv_heads; ++head) {
      float* x = qkv_.data() + r * width + head * c.head_dim;
      const std::vector<float>& norm =
          head < c.n_heads ? block.q_norm : block.k_norm;
      if (!norm.empty()) {
        rows.rms_norm(x, norm.data(), c.head_dim, c.norm_eps, x);
      }
      rotate(rope.cosines_at(position), rope.sines_at(position), rope.n_pairs,
             x);
    }
    // Products with values spread what is not finite over earlier tokens too,
    // 0 times infinity being NaN; here the token is still known.
    if (!rows.all_finite(qkv_.data() + r * width, width)) {
      bad.Note(r);
    }
  });
  if (bad.found()) {
    return NotFinite(
        *context_->model,
        absl::StrCat("queries, keys or values of ", block.q.weight.name()),
        first_window + bad.row() / window_tokens, bad.row() % window_tokens);
  }
  return absl::OkStatus();
}

absl::Status AttentionLayer::Attend(bool sliding, int64_t n_windows,
                                    int64_t window_tokens) {
  const ModelConfig& c = context_->config();
  AttentionShape shape;
  shape.n_tokens = window_tokens;
  shape.group = c.n_heads / c.n_kv_heads;
  shape.head_dim = c.head_dim;
  shape.window = sliding ? c.sliding_window : 0;
  shape.scale = c.attention_scale;
  shape.soft_cap = c.attn_logit_softcap;
  const int64_t n_query = c.n_heads * c.head_dim;
  const int64_t n_key = c.n_kv_heads * c.head_dim;
  const int64_t width = n_query + 2 * n_key;

  const int64_t n_sequences = n_windows * c.n_kv_heads;
  std::vector<PackedKeys> keys(static_cast<size_t>(n_sequences));
  std::vector<absl::Status> results(keys.size());
  context_->pool.ParallelFor(n_sequences, [&](int64_t i) {
    const int64_t window = i / c.n_kv_heads, head = i % c.n_kv_heads;
    const float* k = qkv_.data() + window * window_tokens * width + n_query +
                     head * c.head_dim;
    results[static_cast<size_t>(i)] = attention_.PackKeys(
        shape, k, k + n_key, width, &keys[static_cast<size_t>(i)]);
  });
  for (const absl::Status& result : results) {
    RETURN_IF_ERROR(result);
  }

  attended_.Resize(n_windows * window_tokens, n_query,
                   context_->products.type());
  const int64_t n_tiles = (window_tokens + kQueryTile - 1) / kQueryTile;
  context_->pool.ParallelFor(n_sequences * n_tiles, [&](int64_t task) {
    // The longest tiles first, so that threads end together.
    const int64_t i = task % n_sequences;
    const int64_t tile = n_tiles - 1 - task / n_sequences;
    const int64_t window = i / c.n_kv_heads, head = i % c.n_kv_heads;
    const int64_t first_col = head * shape.group * c.head_dim;
    attention_.Attend(
        shape, qkv_.data() + window * window_tokens * width + first_col, width,
        tile * kQueryTile, keys[static_cast<size_t>(i)],
        attended_.row(window * window_tokens) + first_col, n_query);
  });
  ForEachRow(&context_->pool, attended_.n_rows,
             [&](int64_t r) { attended_.Round(r, context_->rows); });
  return absl::OkStatus();
}

void AttentionLayer::AddOutput(const BlockTensors& block,
                               const PackedMatrix& output, HiddenStates* hidden,
                               int64_t first_row, AttentionTrace* trace) {
  const RowKernels& rows = context_->rows;
  const int64_t n_hidden = hidden->hidden_size;
  float* residual = hidden->values.data() + first_row * n_hidden;
  const bool post_norm = !block.post_attn_norm.empty();
  if (post_norm) {
    projected_.resize(static_cast<size_t>(attended_.n_rows * n_hidden));
  }
  ForEachTile(&context_->products, &context_->pool, attended_, {&output},
              [&](size_t, const Tile& tile) {
                AddBias(rows, block.attn_output.bias, tile);
                for (int64_t r = 0; r < tile.n_rows; ++r) {
                  const float* from = tile.values + r * tile.n_cols;
                  const int64_t at =
                      (tile.first_row + r) * n_hidden + tile.first_col;
                  if (post_norm) {
                    std::copy_n(from, tile.n_cols, projected_.data() + at);
                  } else {
                    rows.add_scaled(from, 1, tile.n_cols, residual + at);
                  }
                }
              });
  if (post_norm) {
    if (trace != nullptr) {
      Append(projected_, &trace->output);
    }
    ForEachRow(&context_->pool, attended_.n_rows, [&](int64_t r) {
      float* row = projected_.data() + r * n_hidden;
      rows.rms_norm(row, block.post_attn_norm.data(), n_hidden,
                    context_->config().norm_eps, row);
      rows.add_scaled(row, 1, n_hidden, residual + r * n_hidden);
    });
  }
}

}  // namespace narrow
