// Causal attention on tensor cores, as the work of blocks of threads: 64
// queries of one head, 16 a warp. The definition is that of kernels/attention,
// but for weights, which are rounded to bfloat16 for the second product.
//
// Keys and values come in tiles of 64 through shared memory, each in two
// buffers, copied (cp.async) while the ones before are used. A warp multiplies
// its queries with a tile's keys, makes weights of the scores in registers
// and, as sums of fragments lie where left factors must, multiplies them with
// the values at once (T. Dao: FlashAttention-2, 2023). Every row keeps its
// largest score so far and its sums relative to it, float32, as in
// attention_threads.h. The sum of weights is of rounded ones, as that of
// values is, so that rounding does not change what weights sum to.
//
// A tile is [64 rows][kHeadDim / 8 chunks of sixteen bytes], chunk c of row r
// at c ^ (r % 8): the eight rows that ldmatrix reads lie in different banks.
//
// The code is a template over the block: a card's (warp/card_block.h) or the
// CPU's (warp/host_block.h), barriers, copies and all.

#ifndef NARROW_KERNELS_ATTENTION_DEVICE_TENSOR_ATTENTION_H_
#define NARROW_KERNELS_ATTENTION_DEVICE_TENSOR_ATTENTION_H_

#include <cmath>
#include <cstdint>

#include "kernels/warp/fragments.h"

namespace narrow {
namespace tensor_attention {

inline constexpr int kQueries = 64;
inline constexpr int kKeys = 64;
inline constexpr int kThreads = 128;
inline constexpr int kWarpQueries = 16;
inline constexpr int kMaxHeadDim = 256;
inline constexpr int kChunkSize = 8;             // numbers
inline constexpr int kKeyFragments = kKeys / 8;  // of scores
inline constexpr float kLog2E = 1.44269504088896341f;

// Sequences of the same length, one after the other; bfloat16.
struct Task {
  // Token t of sequence s, head h: q + (s * n_tokens + t) * q_stride + h *
  // head_dim; keys and values with kv_stride and head h / group.
  const uint16_t* q;
  const uint16_t* k;
  const uint16_t* v;
  // The result, as q lies, with out_stride; either may be nullptr.
  float* floats;
  uint16_t* halves;
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

// Whether chunks begin at multiples of sixteen bytes, and heads are not too
// wide.
inline bool Fits(const Task& task) {
  const auto is_aligned = [](const uint16_t* data) {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0;
  };
  return task.head_dim <= kMaxHeadDim && task.head_dim % kChunkSize == 0 &&
         task.q_stride % kChunkSize == 0 && task.kv_stride % kChunkSize == 0 &&
         is_aligned(task.q) && is_aligned(task.k) && is_aligned(task.v);
}

// Of a block of threads.
template <int kHeadDim>
struct alignas(128) Tiles {
  uint16_t q[kQueries * kHeadDim];
  uint16_t k[2][kKeys * kHeadDim];
  uint16_t v[2][kKeys * kHeadDim];
};

// Of a thread: of the two rows of its fragments, and of its columns.
template <int kHeadDim>
struct State {
  uint32_t left[warp::kLeftRegisters];
  uint32_t right[2 * warp::kRightRegisters];
  float scores[kKeyFragments][warp::kSumRegisters];
  uint32_t weights[kKeyFragments / 2][warp::kLeftRegisters];
  float largest[2];
  float fade[2];
  float weight_sums[2];
  float out[kHeadDim / 8][warp::kSumRegisters];
};

// Which queries a block has.
struct Place {
  int64_t sequence;
  int64_t head;
  int64_t first;  // query
};

NARROW_WARP_FUNCTION int64_t FirstKey(const Task& task, int64_t query) {
  const int64_t first = task.window > 0 ? query - task.window + 1 : int64_t{0};
  return first > 0 ? first : 0;
}

// Chunk even + odd of a row. Apart, so that what differs between the lanes of
// a warp is few sums, and all else constants.
template <int kHeadDim>
NARROW_WARP_FUNCTION int ChunkAt(int row, int even, int odd) {
  return row * kHeadDim + even / 8 * 8 * kChunkSize +
         ((even % 8) ^ (row % 8) ^ odd) * kChunkSize;
}

// Rows of one head from token `first` on; zeros beyond tokens and head.
template <int kHeadDim, class Block>
NARROW_BLOCK_FUNCTION void CopyTile(Block* block, const Task& task,
                                    int64_t sequence, const uint16_t* data,
                                    int64_t stride, int64_t head, int64_t first,
                                    uint16_t* tile) {
  constexpr int kPerRow = kHeadDim / kChunkSize;
  const uint16_t* rows =
      data + (sequence * task.n_tokens + first) * stride + head * task.head_dim;
  const int64_t tokens_left = task.n_tokens - first;
  block->EachThread([&](int thread) {
    // A thread has one column of chunks.
    const int chunk = thread % kPerRow;
    const bool is_in_head = chunk * kChunkSize < task.head_dim;
    for (int row = thread / kPerRow; row < kKeys; row += kThreads / kPerRow) {
      const bool inside = is_in_head && row < tokens_left;
      // Without numbers nothing is read.
      block->Copy(inside ? rows + row * stride + chunk * kChunkSize : data,
                  inside ? 16 : 0,
                  tile + ChunkAt<kHeadDim>(row, chunk / 2 * 2, chunk % 2));
    }
  });
}

// scores = queries * keys.
template <int kHeadDim, class Warp>
NARROW_BLOCK_FUNCTION void MultiplyKeys(const uint16_t* q, const uint16_t* k,
                                        Warp warp) {
  using ItsState = State<kHeadDim>;
  warp.Each([](int, ItsState& state) {
    NARROW_UNROLL
    for (int n = 0; n < kKeyFragments; ++n) {
      NARROW_UNROLL
      for (int r = 0; r < warp::kSumRegisters; ++r) {
        state.scores[n][r] = 0;
      }
    }
  });
  const int row = warp.index() * kWarpQueries;
  NARROW_UNROLL
  for (int d = 0; d < kHeadDim; d += 16) {
    warp.template LoadMatrices<false>(
        [&](int lane) {
          return q + ChunkAt<kHeadDim>(row + lane / 8 % 2 * 8 + lane % 8,
                                       d / kChunkSize, lane / 16);
        },
        [](ItsState& state) { return state.left; });
    NARROW_UNROLL
    for (int n = 0; n < kKeyFragments; n += 2) {
      warp.template LoadMatrices<false>(
          [&](int lane) {
            return k + ChunkAt<kHeadDim>(8 * n + lane / 16 * 8 + lane % 8,
                                         d / kChunkSize, lane / 8 % 2);
          },
          [](ItsState& state) { return state.right; });
      NARROW_UNROLL
      for (int half = 0; half < 2; ++half) {
        warp.Multiply(
            [n, half](ItsState& state) { return state.scores[n + half]; },
            [](ItsState& state) { return state.left; },
            [half](ItsState& state) {
              return state.right + half * warp::kRightRegisters;
            });
      }
    }
  }
}

// Scores in powers of two, capped; those of keys that are not seen become
// -infinity. `largest` takes them in.
template <int kHeadDim>
NARROW_BLOCK_FUNCTION void MaskScores(const Task& task, int64_t first_query,
                                      int64_t first_key, int lane,
                                      State<kHeadDim>* state) {
  // All keys of the tile are seen by all queries of the warp.
  const int64_t last_query = first_query + kWarpQueries - 1;
  const bool all_seen = first_key + kKeys - 1 <= first_query &&
                        first_key >= FirstKey(task, last_query);
  NARROW_UNROLL
  for (int n = 0; n < kKeyFragments; ++n) {
    NARROW_UNROLL
    for (int r = 0; r < warp::kSumRegisters; ++r) {
      float score = state->scores[n][r] * task.scale;
      if (task.soft_cap > 0) {
        score = task.soft_cap * tanhf(score / task.soft_cap);
      }
      score *= kLog2E;
      if (!all_seen) {
        const int64_t query = first_query + warp::SumRow(lane, r);
        const int64_t key = first_key + 8 * n + warp::SumCol(lane, r);
        if (key > query || key < FirstKey(task, query)) {
          score = -INFINITY;
        }
      }
      state->scores[n][r] = score;
      state->largest[r / 2] = fmaxf(state->largest[r / 2], score);
    }
  }
}

// Scores to weights, rounded, as left factors; sums so far fade.
template <int kHeadDim>
NARROW_BLOCK_FUNCTION void WeighScores(State<kHeadDim>* state) {
  float shift[2];
  NARROW_UNROLL
  for (int row = 0; row < 2; ++row) {
    // Nothing seen yet: any number will do, as all weights are 0.
    shift[row] = state->largest[row] == -INFINITY ? 0.0f : state->largest[row];
    state->fade[row] = exp2f(state->fade[row] - shift[row]);
    state->weight_sums[row] *= state->fade[row];
  }
  NARROW_UNROLL
  for (int n = 0; n < kKeyFragments; ++n) {
    NARROW_UNROLL
    for (int row = 0; row < 2; ++row) {
      const uint32_t pair =
          warp::PairOfBf16(exp2f(state->scores[n][2 * row] - shift[row]),
                           exp2f(state->scores[n][2 * row + 1] - shift[row]));
      state->weight_sums[row] += warp::WidenBf16(pair & 0xffff);
      state->weight_sums[row] += warp::WidenBf16(pair >> 16);
      state->weights[n / 2][n % 2 * 2 + row] = pair;
    }
  }
  NARROW_UNROLL
  for (int n = 0; n < kHeadDim / 8; ++n) {
    NARROW_UNROLL
    for (int r = 0; r < warp::kSumRegisters; ++r) {
      state->out[n][r] *= state->fade[r / 2];
    }
  }
}

// out += weights * values.
template <int kHeadDim, class Warp>
NARROW_BLOCK_FUNCTION void MultiplyValues(const uint16_t* v, Warp warp) {
  using ItsState = State<kHeadDim>;
  NARROW_UNROLL
  for (int key = 0; key < kKeys; key += 16) {
    NARROW_UNROLL
    for (int n = 0; n < kHeadDim / 8; n += 2) {
      warp.template LoadMatrices<true>(
          [&](int lane) {
            return v + ChunkAt<kHeadDim>(key + lane / 8 % 2 * 8 + lane % 8, n,
                                         lane / 16);
          },
          [](ItsState& state) { return state.right; });
      NARROW_UNROLL
      for (int half = 0; half < 2; ++half) {
        warp.Multiply(
            [n, half](ItsState& state) { return state.out[n + half]; },
            [key](ItsState& state) { return state.weights[key / 16]; },
            [half](ItsState& state) {
              return state.right + half * warp::kRightRegisters;
            });
      }
    }
  }
}

template <int kHeadDim>
NARROW_BLOCK_FUNCTION void StoreRows(const Task& task, const Place& place,
                                     int64_t first_query, int lane,
                                     const State<kHeadDim>& state) {
  NARROW_UNROLL
  for (int row = 0; row < 2; ++row) {
    const int64_t query = first_query + warp::SumRow(lane, 2 * row);
    if (query >= task.n_tokens) {
      continue;
    }
    const int64_t first =
        (place.sequence * task.n_tokens + query) * task.out_stride +
        place.head * task.head_dim;
    const float inverse = 1 / state.weight_sums[row];
    NARROW_UNROLL
    for (int n = 0; n < kHeadDim / 8; ++n) {
      NARROW_UNROLL
      for (int r = 0; r < 2; ++r) {
        const int d = 8 * n + warp::SumCol(lane, r);
        if (d < task.head_dim) {
          const float value = state.out[n][2 * row + r] * inverse;
          if (task.floats != nullptr) {
            task.floats[first + d] = value;
          }
          if (task.halves != nullptr) {
            task.halves[first + d] =
                static_cast<uint16_t>(warp::RoundToBf16(value));
          }
        }
      }
    }
  }
}

// What a warp does with a tile's scores, and with the sums when all is done.
template <int kHeadDim, class Warp>
NARROW_BLOCK_FUNCTION void Weigh(const Task& task, int64_t first_query,
                                 int64_t first_key, Warp warp) {
  using ItsState = State<kHeadDim>;
  warp.Each([&](int lane, ItsState& state) {
    state.fade[0] = state.largest[0];
    state.fade[1] = state.largest[1];
    MaskScores(task, first_query, first_key, lane, &state);
  });
  const auto larger = [](float a, float b) { return fmaxf(a, b); };
  warp.FoldQuads([](ItsState& state) { return &state.largest[0]; }, larger);
  warp.FoldQuads([](ItsState& state) { return &state.largest[1]; }, larger);
  warp.Each([](int, ItsState& state) { WeighScores(&state); });
}

template <int kHeadDim, class Warp>
NARROW_BLOCK_FUNCTION void Finish(const Task& task, const Place& place,
                                  int64_t first_query, Warp warp) {
  using ItsState = State<kHeadDim>;
  const auto sum = [](float a, float b) { return a + b; };
  warp.FoldQuads([](ItsState& state) { return &state.weight_sums[0]; }, sum);
  warp.FoldQuads([](ItsState& state) { return &state.weight_sums[1]; }, sum);
  warp.Each([&](int lane, ItsState& state) {
    StoreRows(task, place, first_query, lane, state);
  });
}

// The queries of one block. Copies are in groups: queries and the first keys,
// the first values, the second keys ...; two are under way at a time.
template <int kHeadDim, class Block>
NARROW_BLOCK_FUNCTION void Attend(const Task& task, const Place& place,
                                  Tiles<kHeadDim>* tiles, Block* block) {
  using ItsState = State<kHeadDim>;
  const int64_t kv_head = place.head / task.group;
  const auto copy_keys = [&](int64_t key, int buffer) {
    CopyTile<kHeadDim>(block, task, place.sequence, task.k, task.kv_stride,
                       kv_head, key, tiles->k[buffer]);
  };
  const auto copy_values = [&](int64_t key, int buffer) {
    CopyTile<kHeadDim>(block, task, place.sequence, task.v, task.kv_stride,
                       kv_head, key, tiles->v[buffer]);
  };
  block->EachWarp([](auto warp) {
    warp.Each([](int, ItsState& state) {
      NARROW_UNROLL
      for (int row = 0; row < 2; ++row) {
        state.largest[row] = -INFINITY;
        state.weight_sums[row] = 0;
      }
      NARROW_UNROLL
      for (int n = 0; n < kHeadDim / 8; ++n) {
        NARROW_UNROLL
        for (int r = 0; r < warp::kSumRegisters; ++r) {
          state.out[n][r] = 0;
        }
      }
    });
  });
  // Whole tiles from the first that any query sees, to the last query.
  const int64_t begin = FirstKey(task, place.first) / kKeys * kKeys;
  const int64_t last = place.first + kQueries;
  const int64_t end = last < task.n_tokens ? last : task.n_tokens;
  CopyTile<kHeadDim>(block, task, place.sequence, task.q, task.q_stride,
                     place.head, place.first, tiles->q);
  copy_keys(begin, 0);
  block->Commit();
  copy_values(begin, 0);
  block->Commit();
  int buffer = 0;
  for (int64_t key = begin; key < end; key += kKeys) {
    // These keys are there, and nobody reads the other buffer any more.
    block->template Wait<1>();
    block->Sync();
    if (key + kKeys < end) {
      copy_keys(key + kKeys, 1 - buffer);
    }
    block->Commit();
    block->EachWarp([&](auto warp) {
      MultiplyKeys<kHeadDim>(tiles->q, tiles->k[buffer], warp);
      Weigh<kHeadDim>(task, place.first + warp.index() * kWarpQueries, key,
                      warp);
    });
    // Likewise the values.
    block->template Wait<1>();
    block->Sync();
    if (key + kKeys < end) {
      copy_values(key + kKeys, 1 - buffer);
    }
    block->Commit();
    block->EachWarp(
        [&](auto warp) { MultiplyValues<kHeadDim>(tiles->v[buffer], warp); });
    buffer = 1 - buffer;
  }
  block->EachWarp([&](auto warp) {
    Finish<kHeadDim>(task, place, place.first + warp.index() * kWarpQueries,
                     warp);
  });
}

}  // namespace tensor_attention
}  // namespace narrow

#endif  // NARROW_KERNELS_ATTENTION_DEVICE_TENSOR_ATTENTION_H_
