// Angles against transformers' own, and against llama.cpp's divisors.

#include "calibration/rope_table.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

// The angle of pair `i` at position 1; its factor must be `scale`.
double Frequency(const RopeTable& table, int64_t i, double scale = 1) {
  const double c = table.cosines_at(1)[i], s = table.sines_at(1)[i];
  EXPECT_NEAR(std::sqrt(c * c + s * s), scale, 1e-6);
  return std::atan2(s, c);
}

void ExpectFrequencies(const RopeTable& table, const std::vector<double>& want,
                       double scale = 1) {
  ASSERT_EQ(table.n_pairs, static_cast<int64_t>(want.size()));
  for (size_t i = 0; i < want.size(); ++i) {
    // Sines and cosines are float32.
    EXPECT_NEAR(Frequency(table, static_cast<int64_t>(i), scale), want[i], 2e-7)
        << i;
  }
}

ModelConfig SixteenDimensions() {
  ModelConfig config;
  config.head_dim = config.rope_dim = 16;
  config.context_length = 256;
  return config;
}

TEST(RopeTableTest, PlainAnglesGrowWithThePosition) {
  const auto table = MakeRopeTable(SixteenDimensions(), false, 100);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->cosines_at(0)[3], 1.0f);
  EXPECT_EQ(table->sines_at(0)[3], 0.0f);
  for (int64_t i = 0; i < 8; ++i) {
    const double angle = 99 * std::pow(10000.0, -i / 8.0);
    EXPECT_NEAR(table->cosines_at(99)[i], std::cos(angle), 1e-7);
    EXPECT_NEAR(table->sines_at(99)[i], std::sin(angle), 1e-7);
  }
}

TEST(RopeTableTest, LinearSparesLocalLayersWithABaseOfTheirOwn) {
  // The bases may be equal, too: only global layers are stretched.
  for (const double theta : {1e6, 1e4}) {
    ModelConfig config = SixteenDimensions();
    config.rope_theta = theta;
    config.rope_theta_local = 1e4;
    config.rope_scaling.kind = RopeScaling::Kind::kLinear;
    config.rope_scaling.factor = 8;
    const auto global = MakeRopeTable(config, false, 2);
    const auto local = MakeRopeTable(config, true, 2);
    ASSERT_TRUE(global.ok() && local.ok());
    for (int64_t i = 0; i < 8; ++i) {
      EXPECT_NEAR(Frequency(*global, i), std::pow(theta, -i / 8.0) / 8, 2e-7);
      EXPECT_NEAR(Frequency(*local, i), std::pow(1e4, -i / 8.0), 2e-7);
    }
  }
}

TEST(RopeTableTest, LocalLayersWithoutABaseShareTheAngles) {
  ModelConfig config = SixteenDimensions();
  config.rope_theta = 1e6;
  config.rope_scaling.kind = RopeScaling::Kind::kLinear;
  config.rope_scaling.factor = 8;
  const auto local = MakeRopeTable(config, true, 2);
  ASSERT_TRUE(local.ok());
  EXPECT_EQ(local->sines, MakeRopeTable(config, false, 2)->sines);
}

// transformers 5.23: ROPE_INIT_FUNCTIONS["dynamic"](LlamaConfig(hidden_size=64,
// num_attention_heads=4, max_position_embeddings=256, rope_parameters={
// "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.5}), "cpu", 512).
TEST(RopeTableTest, DynamicGrowsTheBaseBeyondTheContext) {
  ModelConfig config = SixteenDimensions();
  config.rope_scaling.kind = RopeScaling::Kind::kDynamic;
  config.rope_scaling.factor = 2.5;
  config.rope_scaling.original_context = 256;
  const auto table = MakeRopeTable(config, false, 512);
  ASSERT_TRUE(table.ok()) << table.status();
  ExpectFrequencies(*table,
                    {1, 0.264408857, 0.0699120462, 0.0184853636, 0.00488769356,
                     0.00129234954, 0.000341708655, 9.03507898e-05});
  const auto within = MakeRopeTable(config, false, 256);
  ASSERT_TRUE(within.ok()) << within.status();
  EXPECT_NEAR(Frequency(*within, 7), std::pow(10000.0, -7 / 8.0), 2e-7);
}

// transformers 5.23: ROPE_INIT_FUNCTIONS["yarn"](LlamaConfig(hidden_size=64,
// num_attention_heads=4, max_position_embeddings=2048, rope_parameters={
// "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
// "original_max_position_embeddings": 64}), "cpu").
TEST(RopeTableTest, YarnIsThatOfTransformers) {
  ModelConfig config = SixteenDimensions();
  config.rope_scaling.kind = RopeScaling::Kind::kYarn;
  config.rope_scaling.factor = 4;
  config.rope_scaling.original_context = 64;
  config.rope_scaling.attention_factor =
      static_cast<float>(0.1 * std::log(4.0) + 1);
  const auto table = MakeRopeTable(config, false, 2);
  ASSERT_TRUE(table.ok()) << table.status();
  ExpectFrequencies(*table,
                    {1, 0.237170815, 0.049999997, 0.00790569466, 0.00249999994,
                     0.000790569466, 0.000250000012, 7.90569466e-05},
                    0.1 * std::log(4.0) + 1);
}

// The same with rope_theta 1e6, original_max_position_embeddings 256.
TEST(RopeTableTest, YarnBlendsBetweenItsBounds) {
  ModelConfig config = SixteenDimensions();
  config.rope_theta = 1e6;
  config.rope_scaling.kind = RopeScaling::Kind::kYarn;
  config.rope_scaling.factor = 4;
  config.rope_scaling.original_context = 256;
  const auto table = MakeRopeTable(config, false, 2);
  ASSERT_TRUE(table.ok()) << table.status();
  ExpectFrequencies(
      *table, {1, 0.133370951, 0.0158113893, 0.00140585331, 0.000250000012,
               4.44569851e-05, 7.90569356e-06, 1.40585337e-06});
}

TEST(RopeTableTest, LongRopeChoosesByTheLengthOfTheWindow) {
  ModelConfig config = SixteenDimensions();
  RopeScaling& scaling = config.rope_scaling;
  scaling.kind = RopeScaling::Kind::kLongRope;
  scaling.original_context = 64;
  scaling.attention_factor = 1.25f;
  scaling.short_factors.assign(8, 2.0f);
  scaling.long_factors.assign(8, 5.0f);
  for (const int64_t n_tokens : {64, 65}) {
    const auto table = MakeRopeTable(config, false, n_tokens);
    ASSERT_TRUE(table.ok()) << table.status();
    EXPECT_NEAR(Frequency(*table, 0, 1.25), n_tokens == 64 ? 0.5 : 0.2, 2e-7);
  }
}

TEST(RopeTableTest, RefusesUnusableDivisors) {
  ModelConfig config = SixteenDimensions();
  config.rope_scaling.kind = RopeScaling::Kind::kLlama3;
  config.rope_scaling.freq_factors.assign(7, 1.0f);
  EXPECT_EQ(MakeRopeTable(config, false, 2).status().message(),
            "rotary divisors: there are 7, 16 rotated dimensions need 8");
  config.rope_scaling.freq_factors.assign(8, 1.0f);
  config.rope_scaling.freq_factors[5] = 0;
  EXPECT_EQ(MakeRopeTable(config, false, 2).status().message(),
            "rotary divisor 5 is 0, not positive");
}

}  // namespace
}  // namespace narrow
