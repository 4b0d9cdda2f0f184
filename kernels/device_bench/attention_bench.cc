#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/attention/device/device_attention.h"
#include "kernels/device_bench/forward_bench.h"

namespace narrow {
namespace {

attention_threads::AttentionTask FloatTask(const ForwardSizes& sizes,
                                           Bench* bench) {
  attention_threads::AttentionTask task = {};
  task.q = task.k = task.v = bench->in();
  task.out = bench->out();
  task.head_dim = sizes.width / sizes.n_heads;
  task.q_stride = task.out_stride = sizes.width;
  task.kv_stride = task.head_dim * sizes.n_kv_heads;
  task.n_sequences = sizes.n_tokens / sizes.sequence;
  task.n_tokens = sizes.sequence;
  task.n_heads = sizes.n_heads;
  task.group = sizes.n_heads / sizes.n_kv_heads;
  task.scale = 0.088f;
  return task;
}

tensor_attention::Task TensorTask(const ForwardSizes& sizes, Bench* bench) {
  tensor_attention::Task task = {};
  task.q = task.k = task.v = bench->in_halves();
  task.halves = bench->out_halves();
  task.head_dim = sizes.width / sizes.n_heads;
  task.q_stride = task.out_stride = sizes.width;
  task.kv_stride = task.head_dim * sizes.n_kv_heads;
  task.n_sequences = sizes.n_tokens / sizes.sequence;
  task.n_tokens = sizes.sequence;
  task.n_heads = sizes.n_heads;
  task.group = sizes.n_heads / sizes.n_kv_heads;
  task.scale = 0.088f;
  return task;
}

}  // namespace

absl::Status BenchAttention(const ForwardSizes& sizes, Bench* bench) {
  // Two products over half of all pairs.
  const double operations =
      4.0 *
      static_cast<double>(sizes.n_tokens * (sizes.sequence / 2) * sizes.width);
  const std::string size = absl::StrCat(
      sizes.n_tokens / sizes.sequence, " x ", sizes.sequence, " tokens, ",
      sizes.n_heads, " heads of ", sizes.width / sizes.n_heads);
  const attention_threads::AttentionTask floats = FloatTask(sizes, bench);
  RETURN_IF_ERROR(bench->Operations(
      absl::StrCat("attention in float32, ", size), operations,
      [&] { return RunAttention(floats, bench->stream()); }));
  const tensor_attention::Task halves = TensorTask(sizes, bench);
  return bench->Operations(absl::StrCat("attention, ", size), operations, [&] {
    return RunTensorAttention(halves, bench->stream());
  });
}

}  // namespace narrow
