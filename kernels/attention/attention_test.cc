// Attention against the definition, over lengths, windows and head shapes
// that do not fit its tiles.

#include "kernels/attention/attention.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

std::vector<float> Normal(int64_t n, float spread, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) {
    v = normal(random);
  }
  return values;
}

// One head's vectors out of [n_tokens, group, head_dim].
std::vector<float> Head(const std::vector<float>& all,
                        const AttentionShape& shape, int64_t group,
                        int64_t head) {
  std::vector<float> out;
  for (int64_t t = 0; t < shape.n_tokens; ++t) {
    const float* row = all.data() + (t * group + head) * shape.head_dim;
    out.insert(out.end(), row, row + shape.head_dim);
  }
  return out;
}

class AttentionTest : public testing::Test {
 protected:
  std::vector<float> Run(const AttentionShape& shape,
                         const std::vector<float>& q,
                         const std::vector<float>& k,
                         const std::vector<float>& v) {
    Attention attention(&matmul_, &RowKernelsForCpu());
    PackedKeys keys;
    const absl::Status status =
        attention.PackKeys(shape, k.data(), v.data(), shape.head_dim, &keys);
    EXPECT_TRUE(status.ok()) << status;
    std::vector<float> out(q.size());
    for (int64_t t = 0; t < shape.n_tokens; t += kQueryTile) {
      attention.Attend(shape, q.data(), shape.group * shape.head_dim, t, keys,
                       out.data(), shape.group * shape.head_dim);
    }
    return out;
  }

  Matmul matmul_{ProductType::kF32};
};

TEST_F(AttentionTest, IsNearTheDefinition) {
  for (const int64_t n_tokens : {1, 2, 48, 63, 64, 65, 200, 512}) {
    for (const int64_t window : {0, 1, 16, 64, 100, 600}) {
      for (const int64_t group : {1, 3}) {
        for (const int64_t head_dim : {16, 80, 320}) {
          const float cap = head_dim == 80 ? 2.0f : 0.0f;
          const AttentionShape shape = {n_tokens, group, head_dim,
                                        window,   0.3f,  cap};
          const auto q = Normal(n_tokens * group * head_dim, 1, 1);
          const auto k = Normal(n_tokens * head_dim, 1, 2);
          const auto v = Normal(n_tokens * head_dim, 1, 3);
          const auto out = Run(shape, q, k, v);
          for (int64_t g = 0; g < group; ++g) {
            const auto got = Head(out, shape, group, g);
            std::vector<float> want(got.size());
            AttendReference(shape, Head(q, shape, group, g).data(), k.data(),
                            v.data(), want.data());
            for (size_t i = 0; i < got.size(); ++i) {
              // Scores reach 30; their float32 rounding, some 1e-5, is the
              // relative error of a weight.
              ASSERT_NEAR(got[i], want[i], 5e-5)
                  << n_tokens << " tokens, window " << window << ", group "
                  << group << ", head " << head_dim << ", at " << i;
            }
          }
        }
      }
    }
  }
}

TEST_F(AttentionTest, LaterTokensDoNotMatter) {
  AttentionShape shape = {150, 2, 32, 40, 1, 0};
  auto q = Normal(150 * 64, 1, 4), k = Normal(150 * 32, 1, 5),
       v = Normal(150 * 32, 1, 6);
  const auto whole = Run(shape, q, k, v);
  for (const int64_t n_tokens : {1, 64, 70, 149}) {
    shape.n_tokens = n_tokens;
    q.resize(static_cast<size_t>(n_tokens * 64));
    const auto part = Run(shape, Normal(n_tokens * 64, 1, 4), k, v);
    for (size_t i = 0; i < part.size(); ++i) {
      ASSERT_EQ(part[i], whole[i]) << n_tokens << " tokens, at " << i;
    }
  }
}

TEST_F(AttentionTest, NanIsNotLost) {
  const AttentionShape shape = {10, 1, 16, 0, 1, 0};
  const auto q = Normal(160, 1, 7), v = Normal(160, 1, 8);
  auto k = Normal(160, 1, 9);
  k[3 * 16] = std::numeric_limits<float>::quiet_NaN();
  const auto out = Run(shape, q, k, v);
  for (int64_t t = 0; t < 10; ++t) {
    EXPECT_EQ(std::isnan(out[static_cast<size_t>(t * 16)]), t >= 3) << t;
  }
}

}  // namespace
}  // namespace narrow
