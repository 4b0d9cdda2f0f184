// Attention of a device against the definition in double: the code of the
// card's threads on the CPU, and a card where there is one.

#include "kernels/attention/device/device_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

using attention_threads::AttentionTask;

struct Case {
  int64_t n_sequences, n_tokens, n_kv_heads, group, head_dim, window;
  float soft_cap;
};

// One head of one sequence, packed.
std::vector<float> HeadOf(const std::vector<float>& from, int64_t stride,
                          int64_t first_token, int64_t n_tokens, int64_t at,
                          int64_t head_dim) {
  std::vector<float> head;
  for (int64_t t = first_token; t < first_token + n_tokens; ++t) {
    const float* x = &from[t * stride + at];
    head.insert(head.end(), x, x + head_dim);
  }
  return head;
}

void ExpectDefinition(const TestDevice& on, const Case& c) {
  SCOPED_TRACE("head of " + std::to_string(c.head_dim) + ", window " +
               std::to_string(c.window) + ", tokens " +
               std::to_string(c.n_tokens));
  const int64_t n = c.n_sequences * c.n_tokens;
  const int64_t n_heads = c.n_kv_heads * c.group;
  const int64_t q_stride = n_heads * c.head_dim + 3;
  const int64_t kv_stride = c.n_kv_heads * c.head_dim + 5;
  const std::vector<float> q = NormalNumbers<float>(n * q_stride, 1);
  const std::vector<float> k = NormalNumbers<float>(n * kv_stride, 2);
  const std::vector<float> v = NormalNumbers<float>(n * kv_stride, 3);
  std::vector<float> out(static_cast<size_t>(n * q_stride), 1e9f);
  const DeviceBuffer d_q = on.Upload(q);
  const DeviceBuffer d_k = on.Upload(k);
  const DeviceBuffer d_v = on.Upload(v);
  const DeviceBuffer d_out = on.Upload(out);
  AttentionTask task = {};
  task.q = d_q.as<float>();
  task.k = d_k.as<float>();
  task.v = d_v.as<float>();
  task.out = d_out.as<float>();
  task.q_stride = task.out_stride = q_stride;
  task.kv_stride = kv_stride;
  task.n_sequences = c.n_sequences;
  task.n_tokens = c.n_tokens;
  task.n_heads = n_heads;
  task.group = c.group;
  task.head_dim = c.head_dim;
  task.window = c.window;
  task.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  task.soft_cap = c.soft_cap;
  ASSERT_TRUE(RunAttention(task, on.stream()).ok());
  out = on.Download<float>(d_out);
  AttentionShape shape;
  shape.n_tokens = c.n_tokens;
  shape.group = 1;
  shape.head_dim = c.head_dim;
  shape.window = c.window;
  shape.scale = task.scale;
  shape.soft_cap = c.soft_cap;
  for (int64_t s = 0; s < c.n_sequences; ++s) {
    for (int64_t h = 0; h < n_heads; ++h) {
      const int64_t at = h / c.group * c.head_dim;
      const auto head = [&](const std::vector<float>& from, int64_t stride,
                            int64_t place) {
        return HeadOf(from, stride, s * c.n_tokens, c.n_tokens, place,
                      c.head_dim);
      };
      std::vector<float> wanted(static_cast<size_t>(c.n_tokens * c.head_dim));
      AttendReference(shape, head(q, q_stride, h * c.head_dim).data(),
                      head(k, kv_stride, at).data(),
                      head(v, kv_stride, at).data(), wanted.data());
      const std::vector<float> values = head(out, q_stride, h * c.head_dim);
      for (size_t i = 0; i < wanted.size(); ++i) {
        // Scores of a few units round by some 2^-22, weights by as much.
        ASSERT_NEAR(values[i], wanted[i], 4e-6) << s << " " << h << " " << i;
      }
    }
  }
  // What lies between the heads' rows is not touched.
  for (int64_t t = 0; t < n; ++t) {
    EXPECT_EQ(out[t * q_stride + n_heads * c.head_dim], 1e9f);
  }
}

TEST(DeviceAttentionTest, EqualsTheDefinition) {
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    ExpectDefinition(on, {1, 1, 1, 1, 64, 0, 0});
    ExpectDefinition(on, {2, 70, 2, 2, 64, 0, 0});
    ExpectDefinition(on, {1, 100, 1, 3, 80, 0, 0});      // a padded head
    ExpectDefinition(on, {1, 131, 1, 1, 128, 40, 0});    // a window
    ExpectDefinition(on, {2, 65, 1, 4, 256, 33, 2.5f});  // and a cap
    ExpectDefinition(on, {1, 97, 1, 1, 24, 1, 0});       // itself alone
  }
}

TEST(DeviceAttentionTest, HeadsTooWideAreUnimplemented) {
  auto stream = Device::Cpu().NewStream();
  AttentionTask task = {};
  task.head_dim = 512;
  EXPECT_TRUE(absl::IsUnimplemented(RunAttention(task, &*stream)));
}

}  // namespace
}  // namespace narrow
