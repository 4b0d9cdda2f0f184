// Attention of a device against the processor's with reproducible products,
// bit for bit: the code of the card's threads on the CPU, and a card where
// there is one.

#include "kernels/attention/device/exact_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/matmul/matmul.h"
#include "kernels/rows/rows.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

using attention_threads::AttentionTask;

struct Case {
  int64_t n_sequences, n_tokens, n_kv_heads, group, head_dim, window;
  float soft_cap;
};

// What kernels/attention makes of the task, whose pointers are the host's.
void AttendOnHost(const AttentionTask& task) {
  Matmul matmul(ProductType::kReproducible);
  Attention attention(&matmul, &RowKernelsForCpu());
  AttentionShape shape;
  shape.n_tokens = task.n_tokens;
  shape.group = task.group;
  shape.head_dim = task.head_dim;
  shape.window = task.window;
  shape.scale = task.scale;
  shape.soft_cap = task.soft_cap;
  for (int64_t s = 0; s < task.n_sequences; ++s) {
    for (int64_t h = 0; h < task.n_heads / task.group; ++h) {
      const int64_t at = s * task.n_tokens;
      PackedKeys keys;
      ASSERT_TRUE(
          attention
              .PackKeys(shape, task.k + at * task.kv_stride + h * task.head_dim,
                        task.v + at * task.kv_stride + h * task.head_dim,
                        task.kv_stride, &keys)
              .ok());
      const int64_t col = h * task.group * task.head_dim;
      for (int64_t q = 0; q < task.n_tokens; q += kQueryTile) {
        attention.Attend(
            shape, task.q + at * task.q_stride + col, task.q_stride, q, keys,
            task.out + at * task.out_stride + col, task.out_stride);
      }
    }
  }
}

void ExpectTheProcessorsBits(const TestDevice& on, const Case& c) {
  SCOPED_TRACE("head of " + std::to_string(c.head_dim) + ", window " +
               std::to_string(c.window) + ", tokens " +
               std::to_string(c.n_tokens));
  const int64_t n = c.n_sequences * c.n_tokens;
  AttentionTask task = {};
  task.n_sequences = c.n_sequences;
  task.n_tokens = c.n_tokens;
  task.n_heads = c.n_kv_heads * c.group;
  task.group = c.group;
  task.head_dim = c.head_dim;
  task.window = c.window;
  task.scale = 1.3f / std::sqrt(static_cast<float>(c.head_dim));
  task.soft_cap = c.soft_cap;
  task.q_stride = task.out_stride = task.n_heads * c.head_dim + 3;
  task.kv_stride = c.n_kv_heads * c.head_dim + 5;
  const std::vector<float> q = NormalNumbers<float>(n * task.q_stride, 1);
  const std::vector<float> k = NormalNumbers<float>(n * task.kv_stride, 2);
  const std::vector<float> v = NormalNumbers<float>(n * task.kv_stride, 3);
  std::vector<float> wanted(q.size(), 1e9f);
  AttentionTask on_host = task;
  on_host.q = q.data();
  on_host.k = k.data();
  on_host.v = v.data();
  on_host.out = wanted.data();
  AttendOnHost(on_host);
  const DeviceBuffer d_q = on.Upload(q);
  const DeviceBuffer d_k = on.Upload(k);
  const DeviceBuffer d_v = on.Upload(v);
  const DeviceBuffer d_out = on.Upload(std::vector<float>(q.size(), 1e9f));
  task.q = d_q.as<float>();
  task.k = d_k.as<float>();
  task.v = d_v.as<float>();
  task.out = d_out.as<float>();
  const absl::Status status = RunExactAttention(task, on.stream());
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(on.Download<float>(d_out), wanted);
}

TEST(ExactAttentionTest, HasTheProcessorsBits) {
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    ExpectTheProcessorsBits(on, {1, 1, 1, 1, 64, 0, 0});
    ExpectTheProcessorsBits(on, {2, 70, 2, 2, 64, 0, 0});
    ExpectTheProcessorsBits(on, {1, 150, 1, 3, 80, 0, 0});
    ExpectTheProcessorsBits(on, {1, 201, 1, 1, 128, 40, 0});
    ExpectTheProcessorsBits(on, {2, 65, 1, 4, 256, 33, 2.5f});
    ExpectTheProcessorsBits(on, {1, 97, 1, 1, 24, 1, 0});
  }
}

TEST(ExactAttentionTest, HeadsTooWideAreUnimplemented) {
  auto stream = Device::Cpu().NewStream();
  AttentionTask task = {};
  task.head_dim = 512;
  EXPECT_TRUE(absl::IsUnimplemented(RunExactAttention(task, &*stream)));
}

}  // namespace
}  // namespace narrow
