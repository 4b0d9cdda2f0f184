#include "kernels/attention/device/exact_attention.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/attention/device/exact_threads.h"

namespace narrow {
namespace {

using attention_threads::AttentionTask;
using attention_threads::Place;
using exact_attention::EndBlock;
using exact_attention::FirstBlock;
using exact_attention::kBlockKeys;
using exact_attention::kQueries;
using exact_attention::kThreads;
using exact_attention::kTileKeys;

// A block of threads, one after the other.
template <int kHeadDim>
void RunBlock(const AttentionTask& task, const Place& place,
              exact_attention::Tiles<kHeadDim>* tiles,
              exact_attention::Sums<kHeadDim>* sums) {
  const auto each = [](const auto& body) {
    for (int thread = 0; thread < kThreads; ++thread) {
      body(thread);
    }
  };
  const int64_t first_block = FirstBlock(task, place);
  const int64_t end_block = EndBlock(task, place);
  each([&](int thread) { Begin(task, place, thread, tiles, sums + thread); });
  for (int64_t key = first_block * kBlockKeys; key < end_block * kBlockKeys;
       key += kTileKeys) {
    each([&](int thread) { Load(task, place, task.k, key, thread, tiles); });
    each([&](int thread) { Raise(task, place, key, thread, tiles); });
  }
  for (int64_t block = first_block; block < end_block; ++block) {
    const int64_t key = block * kBlockKeys;
    for (int col = 0; col < kBlockKeys; col += kTileKeys) {
      each([&](int thread) {
        Load(task, place, task.k, key + col, thread, tiles);
      });
      each([&](int thread) { Score(task, col, thread, tiles); });
    }
    each([&](int thread) { Weigh(task, place, block, thread, tiles); });
    each([&](int thread) { Add(thread, tiles); });
    for (int col = 0; col < kBlockKeys; col += kTileKeys) {
      each([&](int thread) {
        Load(task, place, task.v, key + col, thread, tiles);
      });
      each([&](int thread) { Sum(col, thread, *tiles, sums + thread); });
    }
  }
  each([&](int thread) { Store(task, place, thread, *tiles, sums[thread]); });
}

template <int kHeadDim>
void RunOnCpu(const AttentionTask& task) {
  auto tiles = std::make_unique<exact_attention::Tiles<kHeadDim>>();
  std::vector<exact_attention::Sums<kHeadDim>> sums(kThreads);
  for (int64_t sequence = 0; sequence < task.n_sequences; ++sequence) {
    for (int64_t head = 0; head < task.n_heads; ++head) {
      for (int64_t first = 0; first < task.n_tokens; first += kQueries) {
        RunBlock<kHeadDim>(task, {sequence, head, first}, tiles.get(),
                           sums.data());
      }
    }
  }
}

}  // namespace

absl::Status RunExactAttention(const AttentionTask& task,
                               DeviceStream* stream) {
  if (task.head_dim > attention_threads::kMaxHeadDim) {
    return absl::UnimplementedError(
        absl::StrCat("attention heads of ", task.head_dim, " on a device; ",
                     attention_threads::kMaxHeadDim, " is the most"));
  }
  if (task.n_sequences == 0 || task.n_tokens == 0 || task.n_heads == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return exact_attention::Launch(task, stream->handle());
  }
  if (task.head_dim <= 64) {
    RunOnCpu<64>(task);
  } else if (task.head_dim <= 128) {
    RunOnCpu<128>(task);
  } else {
    RunOnCpu<256>(task);
  }
  return absl::OkStatus();
}

}  // namespace narrow
