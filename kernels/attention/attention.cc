#include "kernels/attention/attention.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace narrow {
namespace {

// Tokens a block of keys; narrower blocks waste less on the causal diagonal,
// wider ones call oneDNN less often.
constexpr int64_t kKeyBlock = 64;

absl::Status Assign(absl::StatusOr<PackedMatrix> from, PackedMatrix* to) {
  if (from.ok()) {
    *to = *std::move(from);
  }
  return from.status();
}

// What one tile works in; kept by the thread, as it is used all the time.
struct Scratch {
  std::vector<float> queries;  // [n_rows, head_dim]
  std::vector<float> scores;   // [n_blocks, n_rows, kKeyBlock]
  std::vector<float> sums;     // [n_rows, panel_cols]
  std::vector<float> inverse;  // [n_rows], of the sums of exponentials
};

void Reserve(int64_t n, std::vector<float>* values) {
  if (static_cast<int64_t>(values->size()) < n) {
    values->resize(static_cast<size_t>(n));
  }
}

// The columns of block `block` that query `t` sees: [first, end).
std::pair<int64_t, int64_t> SeenColumns(const AttentionShape& shape, int64_t t,
                                        int64_t block) {
  const int64_t start = block * kKeyBlock;
  int64_t first = 0;
  if (shape.window > 0) {
    first = std::clamp<int64_t>(t - shape.window + 1 - start, 0, kKeyBlock);
  }
  const int64_t end = std::clamp<int64_t>(t + 1 - start, 0, kKeyBlock);
  return {first, std::max(first, end)};
}

}  // namespace

absl::Status Attention::PackKeys(const AttentionShape& shape, const float* k,
                                 const float* v, int64_t stride,
                                 PackedKeys* keys) {
  const int64_t d = shape.head_dim;
  const int64_t n_blocks = (shape.n_tokens + kKeyBlock - 1) / kKeyBlock;
  absl::Status status = Assign(
      matmul_->NewMatrix(n_blocks * kKeyBlock, d, kKeyBlock), &keys->keys);
  keys->values.resize(static_cast<size_t>(n_blocks));
  // The last block is filled up with zeros, which no query sees.
  std::vector<float> block_rows(static_cast<size_t>(kKeyBlock * d));
  for (int64_t b = 0; b < n_blocks && status.ok(); ++b) {
    const int64_t n = std::min(kKeyBlock, shape.n_tokens - b * kKeyBlock);
    std::fill(block_rows.begin() + n * d, block_rows.end(), 0.0f);
    for (int64_t t = 0; t < n; ++t) {
      std::copy_n(k + (b * kKeyBlock + t) * stride, d,
                  block_rows.data() + t * d);
    }
    matmul_->PackPanel(block_rows.data(), b, &keys->keys);
    for (int64_t t = 0; t < n; ++t) {
      std::copy_n(v + (b * kKeyBlock + t) * stride, d,
                  block_rows.data() + t * d);
    }
    PackedMatrix& values = keys->values[static_cast<size_t>(b)];
    status = Assign(matmul_->NewMatrix(d, kKeyBlock), &values);
    for (int64_t p = 0; status.ok() && p < values.n_panels(); ++p) {
      matmul_->PackTransposed(block_rows.data() + values.first_col(p), d, p,
                              &values);
    }
  }
  return status;
}

// A tile's rows are those of its first head, token by token, then those of
// the next, so that all heads share a product.
struct Attention::QueryTile {
  int64_t first_token, n_tokens;
  int64_t n_rows;
  int64_t first_block, n_blocks;  // of keys, as far as any query sees
  Scratch* scratch;

  int64_t head(int64_t r) const { return r / n_tokens; }
  int64_t token(int64_t r) const { return first_token + r % n_tokens; }
  float* scores(int64_t block, int64_t r) const {
    return scratch->scores.data() + (block * n_rows + r) * kKeyBlock;
  }
};

void Attention::Attend(const AttentionShape& shape, const float* q,
                       int64_t q_stride, int64_t first, const PackedKeys& keys,
                       float* out, int64_t out_stride) {
  static thread_local Scratch scratch;
  QueryTile tile;
  tile.first_token = first;
  tile.n_tokens = std::min(kQueryTile, shape.n_tokens - first);
  tile.n_rows = tile.n_tokens * shape.group;
  tile.first_block =
      shape.window > 0
          ? std::max<int64_t>(0, first - shape.window + 1) / kKeyBlock
          : 0;
  tile.n_blocks =
      (first + tile.n_tokens - 1) / kKeyBlock + 1 - tile.first_block;
  tile.scratch = &scratch;
  Reserve(tile.n_rows * shape.head_dim, &scratch.queries);
  Reserve(tile.n_blocks * tile.n_rows * kKeyBlock, &scratch.scores);
  Reserve(tile.n_rows * kPanelCols, &scratch.sums);
  Reserve(tile.n_rows, &scratch.inverse);

  for (int64_t r = 0; r < tile.n_rows; ++r) {
    rows_->scale(q + tile.token(r) * q_stride + tile.head(r) * shape.head_dim,
                 shape.scale, shape.head_dim,
                 scratch.queries.data() + r * shape.head_dim);
  }
  for (int64_t b = 0; b < tile.n_blocks; ++b) {
    matmul_->Multiply(scratch.queries.data(), tile.n_rows, keys.keys,
                      tile.first_block + b, tile.scores(b, 0));
  }
  Softmax(shape, tile);
  SumValues(shape, tile, keys, out, out_stride);
}

// Scores become exponentials, 0 where a key is not seen.
void Attention::Softmax(const AttentionShape& shape,
                        const QueryTile& tile) const {
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    const int64_t t = tile.token(r);
    float top = -std::numeric_limits<float>::infinity();
    for (int64_t b = 0; b < tile.n_blocks; ++b) {
      const auto [begin, end] = SeenColumns(shape, t, tile.first_block + b);
      float* scores = tile.scores(b, r) + begin;
      if (begin < end) {
        if (shape.soft_cap > 0) {
          rows_->soft_cap(shape.soft_cap, end - begin, scores);
        }
        top = std::max(top, rows_->max(scores, end - begin));
      }
    }
    double total = 0;
    for (int64_t b = 0; b < tile.n_blocks; ++b) {
      const auto [begin, end] = SeenColumns(shape, t, tile.first_block + b);
      float* scores = tile.scores(b, r);
      std::fill(scores, scores + begin, 0.0f);
      std::fill(scores + end, scores + kKeyBlock, 0.0f);
      if (begin < end) {
        total += rows_->exp_in_place(top, end - begin, scores + begin);
      }
    }
    tile.scratch->inverse[static_cast<size_t>(r)] =
        static_cast<float>(1.0 / total);
  }
}

void Attention::SumValues(const AttentionShape& shape, const QueryTile& tile,
                          const PackedKeys& keys, float* out,
                          int64_t out_stride) {
  Scratch& scratch = *tile.scratch;
  const PackedMatrix& any_values = keys.values.front();
  for (int64_t p = 0; p < any_values.n_panels(); ++p) {
    const int64_t n_cols = any_values.panel_cols(p);
    for (int64_t b = 0; b < tile.n_blocks; ++b) {
      matmul_->Multiply(tile.scores(b, 0), tile.n_rows,
                        keys.values[static_cast<size_t>(tile.first_block + b)],
                        p, scratch.sums.data(), b > 0);
    }
    for (int64_t r = 0; r < tile.n_rows; ++r) {
      rows_->scale(scratch.sums.data() + r * n_cols,
                   scratch.inverse[static_cast<size_t>(r)], n_cols,
                   out + tile.token(r) * out_stride +
                       tile.head(r) * shape.head_dim + any_values.first_col(p));
    }
  }
}

}  // namespace narrow
