#include "calibration/output_head.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "calibration/runner_parts.h"
#include "formats/base/elementary.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Tokens of a slice, whole panels: enough slices for any number of threads on
// the large vocabularies where time goes.
constexpr int64_t kSliceTokens = 8 * kPanelCols;
// Rows scored together; bounds the memory of the slices' states.
constexpr int64_t kMaxRows = 4096;

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// What a slice knows of one row.
struct RowState {
  float top = kLowest;
  int32_t top_token = 0;
  double sum = 0;  // of exp(logit - top)

  // Takes in terms with a maximum and a sum of their own; `token` is that of
  // the maximum and above all seen before.
  void Merge(float other_top, int32_t token, double other_sum) {
    if (other_top > top) {
      sum *= Exp(static_cast<double>(top) - other_top);
      top = other_top;
      top_token = token;
      sum += other_sum;
    } else {
      // Equal infinities would give NaN, as they should.
      sum += other_sum * Exp(static_cast<double>(other_top) - top);
    }
  }
};

}  // namespace

struct OutputHead::Slice {
  int64_t first_token = 0;
  int64_t n_tokens = 0;
  std::vector<RowState> rows;
  // Logits of the targets, of all rows; slices write different ones.
  float* target_logits = nullptr;
};

void OutputHead::Load(const float* rows, int64_t n_rows) {
  inputs_.Resize(n_rows, weight_.n_cols(), context_->products.type());
  ForEachRow(&context_->pool, n_rows, [&](int64_t r) {
    std::copy_n(rows + r * inputs_.n_cols, inputs_.n_cols, inputs_.row(r));
    inputs_.Round(r, context_->rows);
  });
}

absl::Status OutputHead::Logits(const float* rows, int64_t n_rows,
                                float* logits) {
  const float cap = context_->config().final_logit_softcap;
  ASSIGN_OR_RETURN(const auto matrix,
                   context_->weights.Get(weight_, &context_->products));
  Load(rows, n_rows);
  ForEachTile(&context_->products, &context_->pool, inputs_, {matrix.get()},
              [&](size_t, const Tile& tile) {
                for (int64_t r = 0; r < tile.n_rows; ++r) {
                  float* row = tile.values + r * tile.n_cols;
                  if (cap > 0) {
                    context_->rows.soft_cap(cap, tile.n_cols, row);
                  }
                  std::copy_n(row, tile.n_cols,
                              logits + (tile.first_row + r) * weight_.n_rows +
                                  tile.first_col);
                }
              });
  return absl::OkStatus();
}

absl::Status OutputHead::LogProbs(const float* rows, int64_t n_rows,
                                  const int32_t* targets, TokenScore* scores) {
  RETURN_IF_ERROR(CheckTargets(weight_, targets, n_rows));
  const ScopedTimer timer(&context_->times->output);
  for (int64_t first = 0; first < n_rows; first += kMaxRows) {
    RETURN_IF_ERROR(ScoreRows(rows + first * weight_.n_cols(),
                              std::min(kMaxRows, n_rows - first),
                              targets + first, scores + first));
  }
  return absl::OkStatus();
}

absl::Status OutputHead::ScoreRows(const float* rows, int64_t n_rows,
                                   const int32_t* targets, TokenScore* scores) {
  ASSIGN_OR_RETURN(const auto kept,
                   context_->weights.GetIfKept(weight_, &context_->products));
  Load(rows, n_rows);
  const int64_t n_slices = (weight_.n_rows + kSliceTokens - 1) / kSliceTokens;
  std::vector<Slice> slices(static_cast<size_t>(n_slices));
  std::vector<absl::Status> results(slices.size());
  std::vector<float> target_logits(static_cast<size_t>(n_rows));
  context_->pool.ParallelFor(n_slices, [&](int64_t i) {
    Slice& slice = slices[static_cast<size_t>(i)];
    slice.first_token = i * kSliceTokens;
    slice.n_tokens = std::min(kSliceTokens, weight_.n_rows - slice.first_token);
    slice.rows.resize(static_cast<size_t>(n_rows));
    slice.target_logits = target_logits.data();
    results[static_cast<size_t>(i)] = ScoreSlice(kept.get(), targets, &slice);
  });
  for (const absl::Status& result : results) {
    RETURN_IF_ERROR(result);
  }
  if (kept == nullptr) {
    context_->model->Release(*weight_.tensor, weight_.first_row,
                             weight_.n_rows);
  }

  for (int64_t r = 0; r < n_rows; ++r) {
    RowState all;
    for (const Slice& slice : slices) {
      const RowState& part = slice.rows[static_cast<size_t>(r)];
      all.Merge(part.top, part.top_token, part.sum);
    }
    scores[r].log_prob =
        static_cast<double>(target_logits[static_cast<size_t>(r)]) - all.top -
        Log(all.sum);
    scores[r].top_token = all.top_token;
    if (!std::isfinite(scores[r].log_prob)) {
      return LogitsNotFinite(*context_->model, weight_, r);
    }
  }
  return absl::OkStatus();
}

absl::Status OutputHead::ScoreSlice(const PackedMatrix* kept,
                                    const int32_t* targets,
                                    Slice* slice) const {
  // Panels are the same whether the matrix is kept or decoded here, so that
  // the order of sums is.
  const int64_t width = PackedWeights::PanelCols(weight_.n_cols());
  PackedMatrix own;
  std::vector<float> decoded;
  if (kept == nullptr) {
    ASSIGN_OR_RETURN(own, context_->products.NewMatrix(
                              slice->n_tokens, weight_.n_cols(), width));
  }
  const PackedMatrix& matrix = kept == nullptr ? own : *kept;
  const int64_t first_panel = kept == nullptr ? 0 : slice->first_token / width;
  std::vector<float> values(static_cast<size_t>(kTileRows * width));
  Tile tile;
  tile.values = values.data();
  for (int64_t first = 0; first < slice->n_tokens; first += width) {
    const int64_t panel = first_panel + first / width;
    tile.first_col = slice->first_token + first;
    tile.n_cols = matrix.panel_cols(panel);
    if (kept == nullptr) {
      RETURN_IF_ERROR(context_->weights.PackPanel(
          weight_, tile.first_col, context_->products, panel, &decoded, &own));
    }
    for (int64_t r = 0; r < inputs_.n_rows; r += kTileRows) {
      tile.first_row = r;
      tile.n_rows = std::min(kTileRows, inputs_.n_rows - r);
      MultiplyRows(&context_->products, inputs_, r, tile.n_rows, matrix, panel,
                   tile.values);
      ReduceTile(tile, targets, slice);
    }
  }
  return absl::OkStatus();
}

void OutputHead::ReduceTile(const Tile& tile, const int32_t* targets,
                            Slice* slice) const {
  const RowKernels& rows = context_->rows;
  const float cap = context_->config().final_logit_softcap;
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    float* logits = tile.values + r * tile.n_cols;
    if (cap > 0) {
      rows.soft_cap(cap, tile.n_cols, logits);
    }
    const int64_t row = tile.first_row + r;
    const int64_t target = targets[row] - tile.first_col;
    if (target >= 0 && target < tile.n_cols) {
      slice->target_logits[row] = logits[target];
    }
    RowState& state = slice->rows[static_cast<size_t>(row)];
    const float top = rows.max(logits, tile.n_cols);
    int32_t token = 0;
    if (top > state.top) {
      token = static_cast<int32_t>(
          tile.first_col +
          (std::find(logits, logits + tile.n_cols, top) - logits));
    }
    state.Merge(top, token, rows.exp_sum(logits, top, tile.n_cols));
  }
}

}  // namespace narrow
