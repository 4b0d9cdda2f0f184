// Causal attention with every bit of kernels/attention in its reproducible
// form, as the work of blocks of threads: kQueries queries of one head, kLanes
// threads each.
//
// Scores are chains of fused multiply-adds over the head's numbers, output
// numbers chains over the keys. A query's largest score is found in a first
// pass over the keys; a second computes the scores again, their exponentials,
// the sums of these in the sixteen lanes of kernels/rows, block of keys after
// block of keys, and the weighted values. So nothing is kept of the scores but
// a block's, and any length will do. Compared with attention_threads.h it
// computes scores twice and shares less of what it loads.
//
// Phases as in kernels/quant/team: all threads finish each before any begins
// the next.

#ifndef NARROW_KERNELS_ATTENTION_DEVICE_EXACT_THREADS_H_
#define NARROW_KERNELS_ATTENTION_DEVICE_EXACT_THREADS_H_

#include <cmath>
#include <cstdint>

#include "kernels/attention/device/attention_threads.h"
#include "kernels/device_fma.h"
#include "kernels/rows/device/row_math.h"

namespace narrow {
namespace exact_attention {

using attention_threads::AttentionTask;
using attention_threads::FirstKey;
using attention_threads::Place;

inline constexpr int kLanes = row_threads::kLanes;
inline constexpr int kQueries = 16;
inline constexpr int kThreads = kQueries * kLanes;
inline constexpr int kBlockKeys = 64;  // that of kernels/attention
inline constexpr int kTileKeys = 16;   // rows in shared memory at a time

// Of a block of threads.
template <int kHeadDim>
struct Tiles {
  float q[kQueries][kHeadDim + 1];
  float rows[kTileKeys][kHeadDim + 1];  // keys, or values
  float weights[kQueries][kBlockKeys];  // scores, then exponentials
  double lanes[kQueries][kLanes];
  double totals[kQueries];
  float tops[kQueries][kLanes];
};

// Of a thread: every kLanes-th number of its query's output.
template <int kHeadDim>
struct Sums {
  float out[kHeadDim / kLanes];
};

// The blocks of keys that any of the queries sees: [first, end).
NARROW_ATTENTION_FUNCTION int64_t FirstBlock(const AttentionTask& task,
                                             const Place& place) {
  return FirstKey(task, place.first) / kBlockKeys;
}
NARROW_ATTENTION_FUNCTION int64_t EndBlock(const AttentionTask& task,
                                           const Place& place) {
  const int64_t end = place.first + kQueries;
  const int64_t last = (end < task.n_tokens ? end : task.n_tokens) - 1;
  return last / kBlockKeys + 1;
}

// The columns of a block that a query sees: [begin, end).
struct Seen {
  int begin;
  int end;
};
NARROW_ATTENTION_FUNCTION Seen SeenColumns(const AttentionTask& task,
                                           int64_t query, int64_t block) {
  const int64_t start = block * kBlockKeys;
  int64_t begin = FirstKey(task, query) - start;
  int64_t end = query + 1 - start;
  begin = begin < 0 ? 0 : begin > kBlockKeys ? kBlockKeys : begin;
  end = end < begin ? begin : end > kBlockKeys ? kBlockKeys : end;
  return {static_cast<int>(begin), static_cast<int>(end)};
}

template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Begin(const AttentionTask& task,
                                     const Place& place, int thread,
                                     Tiles<kHeadDim>* tiles,
                                     Sums<kHeadDim>* sums) {
  for (int e = thread; e < kQueries * kHeadDim; e += kThreads) {
    const int i = e / kHeadDim;
    const int d = e % kHeadDim;
    const int64_t token = place.first + i;
    tiles->q[i][d] =
        token < task.n_tokens && d < task.head_dim
            ? task.q[(place.sequence * task.n_tokens + token) * task.q_stride +
                     place.head * task.head_dim + d] *
                  task.scale
            : 0.0f;
  }
  tiles->tops[thread / kLanes][thread % kLanes] = -INFINITY;
  if (thread < kQueries) {
    tiles->totals[thread] = 0;
  }
  for (int m = 0; m < kHeadDim / kLanes; ++m) {
    sums->out[m] = 0;
  }
}

// Rows of `from`, the keys or the values, zeros beyond the sequence.
template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Load(const AttentionTask& task,
                                    const Place& place, const float* from,
                                    int64_t first_key, int thread,
                                    Tiles<kHeadDim>* tiles) {
  const int64_t head = place.head / task.group;
  for (int e = thread; e < kTileKeys * kHeadDim; e += kThreads) {
    const int i = e / kHeadDim;
    const int d = e % kHeadDim;
    const int64_t token = first_key + i;
    tiles->rows[i][d] =
        token < task.n_tokens && d < task.head_dim
            ? from[(place.sequence * task.n_tokens + token) * task.kv_stride +
                   head * task.head_dim + d]
            : 0.0f;
  }
}

// A thread's score of its query and one of the loaded keys.
template <int kHeadDim>
NARROW_ATTENTION_FUNCTION float ScoreOf(const AttentionTask& task, int thread,
                                        const Tiles<kHeadDim>& tiles) {
  const float* q = tiles.q[thread / kLanes];
  const float* k = tiles.rows[thread % kLanes];
  float sum = 0;
  for (int d = 0; d < kHeadDim; ++d) {
    sum = Fma(q[d], k[d], sum);
  }
  return task.soft_cap > 0 ? row_threads::SoftCap(task.soft_cap, sum) : sum;
}

// Pass 1: the largest score of each lane.
template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Raise(const AttentionTask& task,
                                     const Place& place, int64_t first_key,
                                     int thread, Tiles<kHeadDim>* tiles) {
  const int64_t query = place.first + thread / kLanes;
  const int64_t key = first_key + thread % kLanes;
  if (key <= query && key >= FirstKey(task, query)) {
    const float score = ScoreOf(task, thread, *tiles);
    float* top = &tiles->tops[thread / kLanes][thread % kLanes];
    *top = score > *top ? score : *top;
  }
}

// Pass 2, of a block of keys: its scores ...
template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Score(const AttentionTask& task, int first_col,
                                     int thread, Tiles<kHeadDim>* tiles) {
  tiles->weights[thread / kLanes][first_col + thread % kLanes] =
      ScoreOf(task, thread, *tiles);
}

// ... their exponentials, 0 where a key is not seen, summed by lanes that are
// counted from the first that is ...
template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Weigh(const AttentionTask& task,
                                     const Place& place, int64_t block,
                                     int thread, Tiles<kHeadDim>* tiles) {
  const int i = thread / kLanes;
  const int lane = thread % kLanes;
  const Seen seen = SeenColumns(task, place.first + i, block);
  float top = tiles->tops[i][0];
  for (int l = 1; l < kLanes; ++l) {
    top = tiles->tops[i][l] > top ? tiles->tops[i][l] : top;
  }
  float* weights = tiles->weights[i];
  for (int c = lane; c < kBlockKeys; c += kLanes) {
    if (c < seen.begin || c >= seen.end) {
      weights[c] = 0;
    }
  }
  const int n = seen.end - seen.begin;
  const int n_whole = n - n % kLanes;
  double sum = 0;
  for (int at = lane; at < n; at += kLanes) {
    float* weight = weights + seen.begin + at;
    const bool is_none = at >= n_whole && *weight == -INFINITY;
    *weight = is_none ? 0.0f : row_threads::Exp(*weight - top);
    sum += static_cast<double>(*weight);
  }
  tiles->lanes[i][lane] = sum;
}

// ... the total so far ...
template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Add(int thread, Tiles<kHeadDim>* tiles) {
  if (thread < kQueries) {
    tiles->totals[thread] += row_threads::FoldLanes(tiles->lanes[thread]);
  }
}

// ... and the values, some rows at a time.
template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Sum(int first_col, int thread,
                                   const Tiles<kHeadDim>& tiles,
                                   Sums<kHeadDim>* sums) {
  const int lane = thread % kLanes;
  for (int j = 0; j < kTileKeys; ++j) {
    const float weight = tiles.weights[thread / kLanes][first_col + j];
    for (int m = 0; m < kHeadDim / kLanes; ++m) {
      sums->out[m] =
          Fma(weight, tiles.rows[j][lane + m * kLanes], sums->out[m]);
    }
  }
}

template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Store(const AttentionTask& task,
                                     const Place& place, int thread,
                                     const Tiles<kHeadDim>& tiles,
                                     const Sums<kHeadDim>& sums) {
  const int64_t token = place.first + thread / kLanes;
  if (token >= task.n_tokens) {
    return;
  }
  const float inverse = static_cast<float>(1.0 / tiles.totals[thread / kLanes]);
  float* out = task.out +
               (place.sequence * task.n_tokens + token) * task.out_stride +
               place.head * task.head_dim;
  for (int m = 0; m < kHeadDim / kLanes; ++m) {
    const int d = thread % kLanes + m * kLanes;
    if (d < task.head_dim) {
      out[d] = sums.out[m] * inverse;
    }
  }
}

}  // namespace exact_attention
}  // namespace narrow

#endif  // NARROW_KERNELS_ATTENTION_DEVICE_EXACT_THREADS_H_
