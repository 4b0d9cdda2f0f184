// Causal attention as the work of blocks of threads, each with kQueries
// queries of one head. The definition is that of kernels/attention.
//
// Keys come in tiles of kKeys, through shared memory, from the first that any
// of the queries sees. As softmaxes go over tiles, every query keeps the
// largest score so far and sums relative to it, and a new largest one scales
// them down (M. Milakov, N. Gimelshein: Online normalizer calculation for
// softmax, 2018). Eight threads have a query: each has four of its scores, and
// every eighth number of its output. Float32 throughout; order of sums fixed.
//
// Phases as in kernels/quant/team: Load, Score, Weigh, Sum for every tile, all
// threads finishing each before any begins the next.

#ifndef NARROW_KERNELS_ATTENTION_DEVICE_ATTENTION_THREADS_H_
#define NARROW_KERNELS_ATTENTION_DEVICE_ATTENTION_THREADS_H_

#include <cmath>
#include <cstdint>

#include "kernels/device_fma.h"

#if defined(__CUDACC__)
#define NARROW_ATTENTION_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_ATTENTION_FUNCTION inline
#endif

namespace narrow {
namespace attention_threads {

inline constexpr int kQueries = 32;
inline constexpr int kKeys = 32;
inline constexpr int kShare = 8;  // threads of a query
inline constexpr int kThreads = kQueries * kShare;
inline constexpr int kMaxHeadDim = 256;

// Sequences of the same length, one after the other.
struct AttentionTask {
  // Token t of sequence s, head h: q + (s * n_tokens + t) * q_stride + h *
  // head_dim; keys and values with kv_stride and head h / group.
  const float* q;
  const float* k;
  const float* v;
  float* out;
  int64_t q_stride;
  int64_t kv_stride;
  int64_t out_stride;
  int64_t n_sequences;
  int64_t n_tokens;
  int64_t n_heads;
  int64_t group;  // query heads that share a key-value head
  int64_t head_dim;
  int64_t window;  // keys a query sees, itself included; 0: all before
  float scale;
  float soft_cap;  // 0: none
};

// Of a block of threads. A row of keys has one number more than a power of
// two, so that neighbours lie in different banks.
template <int kHeadDim>
struct Tiles {
  float q[kQueries][kHeadDim + 1];
  float k[kKeys][kHeadDim + 1];
  float v[kKeys][kHeadDim];
  float scores[kQueries][kKeys + 1];
  float weights[kQueries][kKeys + 1];
};

// Of a thread. kHeadDim is head_dim rounded up; what is beyond is zero.
template <int kHeadDim>
struct Sums {
  float largest;
  float weight;
  float out[kHeadDim / kShare];
};

// Which queries a block has.
struct Place {
  int64_t sequence;
  int64_t head;
  int64_t first;  // query
};

NARROW_ATTENTION_FUNCTION int64_t FirstKey(const AttentionTask& task,
                                           int64_t query) {
  const int64_t first = task.window > 0 ? query - task.window + 1 : int64_t{0};
  return first > 0 ? first : 0;
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
                     place.head * task.head_dim + d]
            : 0.0f;
  }
  sums->largest = -INFINITY;
  sums->weight = 0;
  for (int i = 0; i < kHeadDim / kShare; ++i) {
    sums->out[i] = 0;
  }
}

template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Load(const AttentionTask& task,
                                    const Place& place, int64_t first_key,
                                    int thread, Tiles<kHeadDim>* tiles) {
  const int64_t head = place.head / task.group;
  for (int e = thread; e < kKeys * kHeadDim; e += kThreads) {
    const int i = e / kHeadDim;
    const int d = e % kHeadDim;
    const int64_t token = first_key + i;
    const bool inside = token < task.n_tokens && d < task.head_dim;
    const int64_t at =
        (place.sequence * task.n_tokens + token) * task.kv_stride +
        head * task.head_dim + d;
    tiles->k[i][d] = inside ? task.k[at] : 0.0f;
    tiles->v[i][d] = inside ? task.v[at] : 0.0f;
  }
}

template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Score(const AttentionTask& task,
                                     const Place& place, int64_t first_key,
                                     int thread, Tiles<kHeadDim>* tiles) {
  const int i = thread / kShare;
  const int64_t query = place.first + i;
  float dots[kKeys / kShare] = {};
  for (int d = 0; d < kHeadDim; ++d) {
    const float q = tiles->q[i][d];
    for (int j = 0; j < kKeys / kShare; ++j) {
      dots[j] = Fma(q, tiles->k[thread % kShare + j * kShare][d], dots[j]);
    }
  }
  for (int j = 0; j < kKeys / kShare; ++j) {
    const int at = thread % kShare + j * kShare;
    const int64_t key = first_key + at;
    float score = dots[j] * task.scale;
    if (task.soft_cap > 0) {
      score = task.soft_cap * tanhf(score / task.soft_cap);
    }
    const bool seen = key <= query && key >= FirstKey(task, query);
    tiles->scores[i][at] = seen ? score : -INFINITY;
  }
}

// A query's threads all find its largest score; each makes weights of its own
// scores and scales its sums down.
template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Weigh(int thread, Tiles<kHeadDim>* tiles,
                                     Sums<kHeadDim>* sums) {
  const int i = thread / kShare;
  float largest = sums->largest;
  for (int j = 0; j < kKeys; ++j) {
    largest = fmaxf(largest, tiles->scores[i][j]);
  }
  // Nothing seen yet: any number will do, as all weights are 0.
  const float shift = largest == -INFINITY ? 0.0f : largest;
  const float fade = expf(sums->largest - shift);
  for (int j = thread % kShare; j < kKeys; j += kShare) {
    tiles->weights[i][j] = expf(tiles->scores[i][j] - shift);
  }
  sums->largest = largest;
  sums->weight *= fade;
  for (int d = 0; d < kHeadDim / kShare; ++d) {
    sums->out[d] *= fade;
  }
}

template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Sum(int thread, const Tiles<kHeadDim>& tiles,
                                   Sums<kHeadDim>* sums) {
  const int i = thread / kShare;
  for (int j = 0; j < kKeys; ++j) {
    const float weight = tiles.weights[i][j];
    sums->weight += weight;
    for (int d = 0; d < kHeadDim / kShare; ++d) {
      sums->out[d] =
          Fma(weight, tiles.v[j][thread % kShare + d * kShare], sums->out[d]);
    }
  }
}

template <int kHeadDim>
NARROW_ATTENTION_FUNCTION void Store(const AttentionTask& task,
                                     const Place& place, int thread,
                                     const Sums<kHeadDim>& sums) {
  const int64_t token = place.first + thread / kShare;
  if (token >= task.n_tokens) {
    return;
  }
  float* out = task.out +
               (place.sequence * task.n_tokens + token) * task.out_stride +
               place.head * task.head_dim;
  for (int d = 0; d < kHeadDim / kShare; ++d) {
    const int at = thread % kShare + d * kShare;
    if (at < task.head_dim) {
      out[at] = sums.out[d] / sums.weight;
    }
  }
}

// The keys of a block: whole tiles from the first that its first query sees,
// to its last query.
NARROW_ATTENTION_FUNCTION int64_t BeginOfKeys(const AttentionTask& task,
                                              const Place& place) {
  return FirstKey(task, place.first) / kKeys * kKeys;
}
NARROW_ATTENTION_FUNCTION int64_t EndOfKeys(const AttentionTask& task,
                                            const Place& place) {
  const int64_t end = place.first + kQueries;
  return end < task.n_tokens ? end : task.n_tokens;
}

}  // namespace attention_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_ATTENTION_DEVICE_ATTENTION_THREADS_H_
