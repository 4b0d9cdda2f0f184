// Attention on tensor cores against the definition in double: the code of the
// card's warps on the CPU, and a card where there is one.

#include "kernels/attention/device/tensor_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/device/device_attention.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

using tensor_attention::Task;

struct Case {
  int64_t n_sequences, n_tokens, n_kv_heads, group, head_dim, window;
  float soft_cap;

  int64_t n_rows() const { return n_sequences * n_tokens; }
  int64_t n_heads() const { return n_kv_heads * group; }
  int64_t q_stride() const { return n_heads() * head_dim + 8; }
  int64_t kv_stride() const { return n_kv_heads * head_dim + 16; }
  int64_t out_stride() const { return n_heads() * head_dim + 3; }
};

// One head of one sequence as floats.
std::vector<float> HeadOf(const std::vector<uint16_t>& from, int64_t stride,
                          int64_t first_token, const Case& c, int64_t at) {
  std::vector<float> head;
  for (int64_t t = first_token; t < first_token + c.n_tokens; ++t) {
    for (int64_t d = 0; d < c.head_dim; ++d) {
      head.push_back(FloatFromBf16(from[t * stride + at + d]));
    }
  }
  return head;
}

struct Inputs {
  explicit Inputs(const Case& c)
      : q(NormalHalves(c.n_rows() * c.q_stride(), 1)),
        k(NormalHalves(c.n_rows() * c.kv_stride(), 2)),
        v(NormalHalves(c.n_rows() * c.kv_stride(), 3)) {}

  // What a head of a sequence should come to.
  std::vector<float> Wanted(const Case& c, float scale, int64_t sequence,
                            int64_t head) const {
    AttentionShape shape;
    shape.n_tokens = c.n_tokens;
    shape.group = 1;
    shape.head_dim = c.head_dim;
    shape.window = c.window;
    shape.scale = scale;
    shape.soft_cap = c.soft_cap;
    const int64_t token = sequence * c.n_tokens;
    const int64_t at = head / c.group * c.head_dim;
    std::vector<float> wanted(static_cast<size_t>(c.n_tokens * c.head_dim));
    AttendReference(
        shape, HeadOf(q, c.q_stride(), token, c, head * c.head_dim).data(),
        HeadOf(k, c.kv_stride(), token, c, at).data(),
        HeadOf(v, c.kv_stride(), token, c, at).data(), wanted.data());
    return wanted;
  }

  std::vector<uint16_t> q, k, v;
};

void ExpectDefinition(const TestDevice& on, const Case& c) {
  SCOPED_TRACE("head of " + std::to_string(c.head_dim) + ", window " +
               std::to_string(c.window) + ", tokens " +
               std::to_string(c.n_tokens));
  const Inputs in(c);
  const DeviceBuffer d_q = on.Upload(in.q);
  const DeviceBuffer d_k = on.Upload(in.k);
  const DeviceBuffer d_v = on.Upload(in.v);
  const int64_t n_out = c.n_rows() * c.out_stride();
  const DeviceBuffer d_floats = on.Upload(std::vector<float>(n_out, 1e9f));
  const DeviceBuffer d_halves = on.Upload(std::vector<uint16_t>(n_out, 7));
  Task task = {};
  task.q = d_q.as<uint16_t>();
  task.k = d_k.as<uint16_t>();
  task.v = d_v.as<uint16_t>();
  task.floats = d_floats.as<float>();
  task.halves = d_halves.as<uint16_t>();
  task.q_stride = c.q_stride();
  task.kv_stride = c.kv_stride();
  task.out_stride = c.out_stride();
  task.n_sequences = c.n_sequences;
  task.n_tokens = c.n_tokens;
  task.n_heads = c.n_heads();
  task.group = c.group;
  task.head_dim = c.head_dim;
  task.window = c.window;
  task.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  task.soft_cap = c.soft_cap;
  ASSERT_TRUE(RunTensorAttention(task, on.stream()).ok());
  const std::vector<float> floats = on.Download<float>(d_floats);
  const std::vector<uint16_t> halves = on.Download<uint16_t>(d_halves);
  float most = 0;
  for (const uint16_t v : in.v) {
    most = std::max(most, std::fabs(FloatFromBf16(v)));
  }
  double squares = 0;
  for (int64_t s = 0; s < c.n_sequences; ++s) {
    for (int64_t h = 0; h < c.n_heads(); ++h) {
      const std::vector<float> wanted = in.Wanted(c, task.scale, s, h);
      for (int64_t i = 0; i < c.n_tokens * c.head_dim; ++i) {
        const int64_t at = (s * c.n_tokens + i / c.head_dim) * c.out_stride() +
                           h * c.head_dim + i % c.head_dim;
        // Weights round by 2^-9 of themselves, in the sum of values as in
        // that of weights: at most twice 2^-9 of the largest value. The rest,
        // float32, is below 1e-5.
        ASSERT_NEAR(floats[at], wanted[i], 0x1p-8 * most + 1e-5)
            << s << " " << h << " " << i;
        EXPECT_EQ(halves[at], Bf16FromFloat(floats[at]));
        squares += std::pow(floats[at] - wanted[i], 2);
      }
    }
  }
  // Roundings are independent and of both signs: what is left of them is far
  // smaller than the bound, 2^-9 / sqrt(3) of a weight on average.
  const double mean_square =
      squares / static_cast<double>(c.n_rows() * c.n_heads() * c.head_dim);
  EXPECT_LE(std::sqrt(mean_square), 0x1p-9);
  // What lies between the heads' rows is not touched.
  for (int64_t t = 0; t < c.n_rows(); ++t) {
    const int64_t at = t * c.out_stride() + c.n_heads() * c.head_dim;
    EXPECT_EQ(floats[at], 1e9f);
    EXPECT_EQ(halves[at], 7);
  }
}

TEST(TensorAttentionTest, EqualsTheDefinition) {
  for (const TestDevice& on : TestDevices()) {
    SCOPED_TRACE(on.device().Description());
    ExpectDefinition(on, {1, 1, 1, 1, 64, 0, 0});
    ExpectDefinition(on, {2, 70, 2, 2, 64, 0, 0});
    ExpectDefinition(on, {1, 200, 1, 1, 32, 0, 0});       // a padded head
    ExpectDefinition(on, {1, 100, 1, 3, 80, 0, 0});       // another
    ExpectDefinition(on, {1, 260, 1, 1, 128, 70, 0});     // a window
    ExpectDefinition(on, {2, 130, 1, 4, 256, 33, 2.5f});  // and a cap
    ExpectDefinition(on, {1, 97, 1, 1, 24, 1, 0});        // itself alone
  }
}

// Scores so large that all weight is on one key: the value itself.
TEST(TensorAttentionTest, SharpSoftmaxesPickTheirKey) {
  const int64_t n_tokens = 150, head_dim = 64;
  for (const TestDevice& on : TestDevices()) {
    std::vector<uint16_t> q(n_tokens * head_dim, Bf16FromFloat(0));
    std::vector<uint16_t> k = q;
    const std::vector<uint16_t> v = NormalHalves(n_tokens * head_dim, 4);
    for (int64_t t = 0; t < n_tokens; ++t) {
      // Keys grow until token 99 and shrink behind it.
      q[t * head_dim] = Bf16FromFloat(1000);
      k[t * head_dim] =
          Bf16FromFloat(static_cast<float>(t < 100 ? t : 198 - t));
    }
    const DeviceBuffer d_q = on.Upload(q);
    const DeviceBuffer d_k = on.Upload(k);
    const DeviceBuffer d_v = on.Upload(v);
    const DeviceBuffer out =
        on.Upload(std::vector<uint16_t>(n_tokens * head_dim));
    const Task task = {d_q.as<uint16_t>(),
                       d_k.as<uint16_t>(),
                       d_v.as<uint16_t>(),
                       nullptr,
                       out.as<uint16_t>(),
                       head_dim,
                       head_dim,
                       head_dim,
                       1,
                       n_tokens,
                       1,
                       1,
                       head_dim,
                       0,
                       1,
                       0};
    ASSERT_TRUE(RunTensorAttention(task, on.stream()).ok());
    const std::vector<uint16_t> got = on.Download<uint16_t>(out);
    for (int64_t t = 0; t < n_tokens; ++t) {
      const int64_t best = std::min<int64_t>(t, 99);
      for (int64_t d = 0; d < head_dim; ++d) {
        EXPECT_EQ(got[t * head_dim + d], v[best * head_dim + d]) << t;
      }
    }
  }
}

TEST(TensorAttentionTest, WhatDoesNotFitIsUnimplemented) {
  auto stream = Device::Cpu().NewStream();
  alignas(16) const uint16_t numbers[16] = {};
  Task task = {};
  task.q = task.k = task.v = numbers;
  task.q_stride = task.kv_stride = 64;
  task.head_dim = 64;
  EXPECT_TRUE(RunTensorAttention(task, &*stream).ok());
  task.head_dim = 512;
  EXPECT_TRUE(absl::IsUnimplemented(RunTensorAttention(task, &*stream)));
  task.head_dim = 60;
  EXPECT_TRUE(absl::IsUnimplemented(RunTensorAttention(task, &*stream)));
  task.head_dim = 64;
  task.kv_stride = 65;
  EXPECT_TRUE(absl::IsUnimplemented(RunTensorAttention(task, &*stream)));
  task.kv_stride = 64;
  task.v = numbers + 1;
  EXPECT_TRUE(absl::IsUnimplemented(RunTensorAttention(task, &*stream)));
}

}  // namespace
}  // namespace narrow
