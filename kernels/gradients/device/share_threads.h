// What of the gradient of attention is no product (calibration/backward/
// layers/attention_gradient.h), as a card's threads do it.
//
// A chunk is the queries of some tokens of a window, for each key-value head
// the rows of its group: kTileTokens tokens of the group's first head, the
// same of the next, then the next tokens. That is the processor's order, in
// which its products add rows to the gradients of keys and values.

#ifndef NARROW_KERNELS_GRADIENTS_DEVICE_SHARE_THREADS_H_
#define NARROW_KERNELS_GRADIENTS_DEVICE_SHARE_THREADS_H_

#include <cmath>
#include <cstdint>

#include "kernels/rows/device/row_math.h"
#include "kernels/rows/device/row_threads.h"

namespace narrow {
namespace gradient_threads {

inline constexpr int64_t kTileTokens = 64;  // kQueryTile of kernels/attention

struct QueryChunk {
  int64_t first_token;  // of the window; a multiple of kTileTokens
  int64_t n_tokens;
  int64_t group;    // query heads of a key-value head
  int64_t n_heads;  // key-value heads

  NARROW_ROW_FUNCTION int64_t head_rows() const { return n_tokens * group; }
  NARROW_ROW_FUNCTION int64_t n_rows() const { return head_rows() * n_heads; }

  struct Query {
    int64_t head;  // among all query heads
    int64_t token;
  };
  NARROW_ROW_FUNCTION Query QueryOf(int64_t row) const {
    const int64_t in_head = row % head_rows();
    const int64_t tile = in_head / (kTileTokens * group);
    const int64_t in_tile = in_head - tile * kTileTokens * group;
    const int64_t left = n_tokens - tile * kTileTokens;
    const int64_t tall = left < kTileTokens ? left : kTileTokens;
    return {row / head_rows() * group + in_tile / tall,
            first_token + tile * kTileTokens + in_tile % tall};
  }
};

// Queries, scaled, and the gradients at what they gave, in a chunk's order.
struct GatherQueriesTask {
  QueryChunk chunk;
  const float* q;  // of the window's first token, rows `stride` apart
  int64_t stride;
  const float* out_gradient;
  int64_t out_stride;
  int64_t head_dim;
  float scale;
  float* queries;  // [chunk rows, head_dim]
  float* outputs;  // likewise

  NARROW_ROW_FUNCTION int64_t n() const { return chunk.n_rows() * head_dim; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const int64_t row = i / head_dim;
    const int64_t d = i - row * head_dim;
    const QueryChunk::Query at = chunk.QueryOf(row);
    const int64_t col = at.head * head_dim + d;
    queries[i] = q[at.token * stride + col] * scale;
    outputs[i] = out_gradient[at.token * out_stride + col];
  }
};

// The way back, for the queries' gradients.
struct ScatterQueriesTask {
  QueryChunk chunk;
  const float* sums;  // [chunk rows, head_dim]
  int64_t head_dim;
  float scale;
  float* q_gradient;  // of the window's first token, rows `stride` apart
  int64_t stride;

  NARROW_ROW_FUNCTION int64_t n() const { return chunk.n_rows() * head_dim; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const int64_t row = i / head_dim;
    const QueryChunk::Query at = chunk.QueryOf(row);
    q_gradient[at.token * stride + at.head * head_dim + (i - row * head_dim)] =
        sums[i] * scale;
  }
};

// Scores of a row become its shares, and gradients at the shares those at the
// scores; 0 for keys that are not seen.
struct ShareGradientTask {
  QueryChunk chunk;
  int64_t n_rows;     // chunk.n_rows()
  int64_t first_key;  // of the window
  int64_t n;          // keys
  int64_t window;     // 0: none
  float soft_cap;     // 0: none
  float* shares;      // [n_rows, n]
  float* gradients;   // likewise
  float* capped;      // likewise, room; only with a soft cap

  static constexpr int kPhases = 5;
  NARROW_ROW_FUNCTION int64_t n_steps() const { return 1; }

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int64_t /*step*/, int lane,
                               row_threads::LaneSums* sums) const {
    const int64_t token = chunk.QueryOf(row).token;
    const int64_t oldest = token - window + 1 - first_key;
    const int64_t begin = window > 0 && oldest > 0 ? oldest : 0;
    const int64_t n_seen = token + 1 - first_key - begin;
    float* const p = shares + row * n + begin;
    float* const g = gradients + row * n + begin;
    if constexpr (kPhase == 0) {
      Clear(row, begin, begin + n_seen, lane);
      float top = -INFINITY;
      for (int64_t i = lane; i < n_seen; i += row_threads::kLanes) {
        if (soft_cap > 0) {
          p[i] = row_threads::SoftCap(soft_cap, p[i]);
          capped[row * n + begin + i] = p[i];
        }
        top = p[i] > top ? p[i] : top;
      }
      sums->tops[lane] = top;
    } else if constexpr (kPhase == 1) {
      float top = sums->tops[0];
      for (int l = 1; l < row_threads::kLanes; ++l) {
        top = sums->tops[l] > top ? sums->tops[l] : top;
      }
      double sum = 0;
      for (int64_t i = lane; i < n_seen; i += row_threads::kLanes) {
        p[i] = row_threads::ExpTerm(p[i], top, i, n_seen);
        sum += static_cast<double>(p[i]);
      }
      sums->of_lanes[lane] = sum;
    } else if constexpr (kPhase == 2) {
      const float inverse =
          static_cast<float>(1.0 / row_threads::FoldLanes(sums->of_lanes));
      for (int64_t i = lane; i < n_seen; i += row_threads::kLanes) {
        p[i] = p[i] * inverse;
      }
    } else if constexpr (kPhase == 3) {
      // One chain, as on the processor.
      if (lane == 0) {
        double mean = 0;
        for (int64_t i = 0; i < n_seen; ++i) {
          mean += static_cast<double>(p[i]) * static_cast<double>(g[i]);
        }
        sums->tops[0] = static_cast<float>(mean);
      }
    } else {
      const float shift = sums->tops[0];
      for (int64_t i = lane; i < n_seen; i += row_threads::kLanes) {
        float value = p[i] * (g[i] - shift);
        if (soft_cap > 0) {
          const float ratio = capped[row * n + begin + i] / soft_cap;
          value *= 1.0f - ratio * ratio;
        }
        g[i] = value;
      }
    }
  }

 private:
  NARROW_ROW_FUNCTION void Clear(int64_t row, int64_t begin, int64_t end,
                                 int lane) const {
    for (int64_t i = lane; i < n; i += row_threads::kLanes) {
      if (i < begin || i >= end) {
        shares[row * n + i] = 0;
        gradients[row * n + i] = 0;
      }
    }
  }
};

}  // namespace gradient_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_GRADIENTS_DEVICE_SHARE_THREADS_H_
