// What no family of the fixtures has: experts whose sum goes through a norm.

#include "calibration/backward/layers/feed_forward_gradient.h"

#include <cmath>
#include <memory>
#include <vector>

#include "calibration/feed_forward.h"
#include "calibration/forward_context.h"
#include "calibration/weights/block_tensors.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

double Random(uint64_t* state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<double>(*state >> 33) / double(1 << 30) - 1;
}

// The gradient of sum_i g_i y_i, y the half's output, against a central
// difference along half the gradient and half a random direction.
void ExpectDifferences(const char* path, bool with_norm) {
  CheckpointOptions checkpoint_options;
  checkpoint_options.skip_tokenizer = true;
  const auto model = Checkpoint::Open(path, checkpoint_options);
  ASSERT_TRUE(model.ok()) << model.status();
  RunnerOptions options;
  options.n_threads = 2;
  ForwardContext context(model->get(), ProductType::kReproducible, options);
  DecodedWeights weights(model->get(), &context.pool, 0);
  auto tensors = FindModelTensors(**model);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  BlockTensors& block = tensors->blocks.back();
  ASSERT_TRUE(block.has_experts);
  uint64_t state = 11;
  if (with_norm) {
    for (int64_t i = 0; i < context.config().hidden_size; ++i) {
      block.post_ffn_norm.push_back(
          static_cast<float>(1 + 0.5 * Random(&state)));
    }
  }

  HiddenStates input;
  input.n_windows = 2;
  input.window_tokens = 25;
  input.hidden_size = context.config().hidden_size;
  std::vector<float> g;
  for (int64_t i = 0; i < 50 * input.hidden_size; ++i) {
    input.values.push_back(static_cast<float>(Random(&state)));
    g.push_back(static_cast<float>(Random(&state)));
  }
  FeedForward layer(&context);
  const auto loss = [&](HiddenStates hidden) {
    const absl::Status status =
        layer.Run(block, PartEnd::kOutput, nullptr, &hidden);
    EXPECT_TRUE(status.ok()) << status;
    double sum = 0;
    for (size_t i = 0; i < g.size(); ++i) {
      sum += static_cast<double>(g[i]) * static_cast<double>(hidden.values[i]);
    }
    return sum;
  };
  FeedForwardGradient gradient(&context, &weights);
  std::vector<float> got = g;
  const absl::Status status = gradient.Run(block, input, nullptr, got.data());
  ASSERT_TRUE(status.ok()) << status;

  double size = 0;
  for (const float v : got) {
    size += static_cast<double>(v) * static_cast<double>(v);
  }
  size = std::sqrt(size);
  // Small, so that no token changes its experts.
  constexpr double kStep = 2e-3;
  std::vector<double> direction;
  double slope = 0;
  for (const float v : got) {
    direction.push_back(v / size +
                        Random(&state) *
                            std::sqrt(3.0 / static_cast<double>(got.size())));
    slope += direction.back() * static_cast<double>(v);
  }
  double losses[2];
  for (int side = 0; side < 2; ++side) {
    HiddenStates moved = input;
    for (size_t i = 0; i < got.size(); ++i) {
      moved.values[i] +=
          static_cast<float>((side == 0 ? kStep : -kStep) * direction[i]);
    }
    losses[side] = loss(moved);
  }
  EXPECT_NEAR((losses[0] - losses[1]) / (2 * kStep) / slope, 1, 2e-3) << path;
}

TEST(FeedForwardGradient, FollowsExpertsAndANormAfterThem) {
  for (const char* path : {"testdata/arch/mixtral",
                           "testdata/arch_options/qwen3_moe_plain_weights"}) {
    ExpectDifferences(path, /*with_norm=*/false);
    ExpectDifferences(path, /*with_norm=*/true);
  }
}

}  // namespace
}  // namespace narrow
