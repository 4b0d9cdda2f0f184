#include "kernels/attention/device/device_attention.h"

#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/attention/device/attention_launch.h"
#include "kernels/attention/device/tensor_attention_launch.h"
#include "kernels/warp/host_block.h"

namespace narrow {
namespace {

using attention_threads::AttentionTask;
using attention_threads::kKeys;
using attention_threads::kQueries;
using attention_threads::kThreads;
using attention_threads::Place;

// A block of threads, one after the other.
template <int kHeadDim>
void RunBlock(const AttentionTask& task, const Place& place,
              attention_threads::Tiles<kHeadDim>* tiles,
              attention_threads::Sums<kHeadDim>* sums) {
  const auto each = [](const auto& body) {
    for (int thread = 0; thread < kThreads; ++thread) {
      body(thread);
    }
  };
  each([&](int thread) { Begin(task, place, thread, tiles, sums + thread); });
  const int64_t end = EndOfKeys(task, place);
  for (int64_t key = BeginOfKeys(task, place); key < end; key += kKeys) {
    each([&](int thread) { Load(task, place, key, thread, tiles); });
    each([&](int thread) { Score(task, place, key, thread, tiles); });
    each([&](int thread) { Weigh(thread, tiles, sums + thread); });
    each([&](int thread) { Sum(thread, *tiles, sums + thread); });
  }
  each([&](int thread) { Store(task, place, thread, sums[thread]); });
}

template <int kHeadDim>
void RunOnCpu(const AttentionTask& task) {
  auto tiles = std::make_unique<attention_threads::Tiles<kHeadDim>>();
  std::vector<attention_threads::Sums<kHeadDim>> sums(kThreads);
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

absl::Status RunAttention(const AttentionTask& task, DeviceStream* stream) {
  if (task.head_dim > attention_threads::kMaxHeadDim) {
    return absl::UnimplementedError(
        absl::StrCat("attention heads of ", task.head_dim, " on a device; ",
                     attention_threads::kMaxHeadDim, " is the most"));
  }
  if (task.n_sequences == 0 || task.n_tokens == 0 || task.n_heads == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return attention_threads::Launch(task, stream->handle());
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

namespace {

template <int kHeadDim>
void RunTensorOnCpu(const tensor_attention::Task& task) {
  const auto tiles = std::make_unique<tensor_attention::Tiles<kHeadDim>>();
  for (int64_t sequence = 0; sequence < task.n_sequences; ++sequence) {
    for (int64_t head = 0; head < task.n_heads; ++head) {
      for (int64_t first = 0; first < task.n_tokens;
           first += tensor_attention::kQueries) {
        // What was never written shows.
        std::memset(tiles.get(), 0xff, sizeof(*tiles));
        warp::HostBlock<tensor_attention::State<kHeadDim>> block(
            tensor_attention::kThreads);
        tensor_attention::Attend<kHeadDim>(task, {sequence, head, first},
                                           tiles.get(), &block);
      }
    }
  }
}

}  // namespace

absl::Status RunTensorAttention(const tensor_attention::Task& task,
                                DeviceStream* stream) {
  if (!tensor_attention::Fits(task)) {
    return absl::UnimplementedError(
        absl::StrCat("attention on tensor cores with heads of ", task.head_dim,
                     " and rows of ", task.q_stride, " and ", task.kv_stride,
                     " numbers; multiples of ", tensor_attention::kChunkSize,
                     " are needed, and heads of no more than ",
                     tensor_attention::kMaxHeadDim));
  }
  if (task.n_sequences == 0 || task.n_tokens == 0 || task.n_heads == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return tensor_attention::Launch(task, stream->handle());
  }
  if (task.head_dim <= 64) {
    RunTensorOnCpu<64>(task);
  } else if (task.head_dim <= 128) {
    RunTensorOnCpu<128>(task);
  } else {
    RunTensorOnCpu<256>(task);
  }
  return absl::OkStatus();
}

}  // namespace narrow
