#include "converter/fit/cache_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "formats/arch/checkpoint.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

// "KV buffer size" in MiB as llama-completion of llama.cpp 0.7.0 (Debian)
// prints it for testdata/arch converted to F16, with
//   -c 40000 [-np 3 -ctk q8_0 -ctv q4_0]
// (-c is the sum of all sequences: 13568 positions each, after rounding).
// Printed to two decimals; sizes of two lines are the layers that keep all
// positions, and those of a window.
struct Golden {
  const char* model;
  CacheTypes types;
  CacheUse use;
  double full_mib;
  double sliding_mib;
};

constexpr CacheTypes kHalf = {QuantType::kF16, QuantType::kF16};
constexpr CacheTypes kMixed = {QuantType::kQ8_0, QuantType::kQ4_0};
constexpr CacheUse kOne = {40000, 1, 512};
constexpr CacheUse kThree = {13334, 3, 512};

constexpr Golden kGoldens[] = {
    {"gemma2", kHalf, kOne, 9.81, 0.38},
    {"gemma2", kMixed, kThree, 4.04, 0.46},
    {"gemma3_text", kHalf, kOne, 9.81, 1.12},
    {"gemma3_text", kMixed, kThree, 4.04, 1.37},
    {"qwen3", kHalf, kOne, 29.44, 0},
    {"qwen3", kMixed, kThree, 12.11, 0},
    {"mixtral", kHalf, kOne, 14.72, 0},
    {"llama2", kHalf, kOne, 29.44, 0},
    {"llama3", kHalf, kOne, 14.72, 0},
    {"mistral", kHalf, kOne, 14.72, 0},
    {"qwen2", kHalf, kOne, 14.72, 0},
};

TEST(CacheBytes, IsWhatLlamaCppAllocates) {
  for (const Golden& golden : kGoldens) {
    SCOPED_TRACE(golden.model);
    const auto model = Checkpoint::Open(
        std::string("testdata/arch/") + golden.model, CheckpointOptions());
    ASSERT_TRUE(model.ok()) << model.status();
    const auto layout = CacheLayoutOf((*model)->metadata());
    ASSERT_TRUE(layout.ok()) << layout.status();
    ASSERT_TRUE(CheckCacheTypes(*layout, golden.types).ok());
    const CacheSize size = CacheBytes(*layout, golden.types, golden.use);
    constexpr double kMib = 1 << 20;
    EXPECT_NEAR(static_cast<double>(size.full_bytes) / kMib, golden.full_mib,
                0.006);
    EXPECT_NEAR(static_cast<double>(size.sliding_bytes) / kMib,
                golden.sliding_mib, 0.006);
    EXPECT_EQ(size.state_bytes, 0);
  }
}

// Metadata of a family with 4 heads of 64, 2 of them for keys and values.
Metadata SmallModel(const std::string& family, uint32_t n_layers) {
  Metadata m;
  m.Set("general.architecture", family);
  m.Set(family + ".block_count", n_layers);
  m.Set(family + ".embedding_length", uint32_t{256});
  m.Set(family + ".attention.head_count", uint32_t{4});
  m.Set(family + ".attention.head_count_kv", uint32_t{2});
  return m;
}

CacheSize SizeOf(const Metadata& metadata, int64_t context) {
  const auto layout = CacheLayoutOf(metadata);
  EXPECT_TRUE(layout.ok()) << layout.status();
  return layout.ok() ? CacheBytes(*layout, kHalf, {context, 1, 512})
                     : CacheSize();
}

// Keys and values, 2 heads of 64, 2 bytes each.
constexpr int64_t kRow = 2 * 2 * 64 * 2;

TEST(CacheLayout, AnUnlistedFamilyKeepsAllPositions) {
  EXPECT_EQ(SizeOf(SmallModel("newfamily", 3), 1000).bytes(), 3 * 1024 * kRow);
}

TEST(CacheLayout, AnUnlistedFamilyWithAWindowIsNotGuessedAt) {
  Metadata m = SmallModel("newfamily", 3);
  m.Set("newfamily.attention.sliding_window", uint32_t{128});
  const auto layout = CacheLayoutOf(m);
  EXPECT_EQ(layout.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(layout.status().message(), HasSubstr("newfamily"));
  EXPECT_THAT(layout.status().message(), HasSubstr("--cache-size"));
}

TEST(CacheLayout, HeadsMayDifferByLayer) {
  Metadata m = SmallModel("newfamily", 3);
  m.Set("newfamily.attention.head_count_kv", std::vector<int32_t>{4, 0, 1});
  EXPECT_EQ(SizeOf(m, 256).bytes(), 256 * (4 + 1) * 64 * 2 * 2);
  m.Set("newfamily.attention.head_count_kv", std::vector<int32_t>{4, 0});
  EXPECT_EQ(CacheLayoutOf(m).status().code(), absl::StatusCode::kDataLoss);
}

TEST(CacheLayout, KeysAndValuesMayDiffer) {
  Metadata m = SmallModel("newfamily", 1);
  m.Set("newfamily.attention.key_length", uint32_t{192});
  m.Set("newfamily.attention.value_length", uint32_t{128});
  EXPECT_EQ(SizeOf(m, 256).bytes(), 256 * 2 * (192 + 128) * 2);
}

// One vector of 64 + 32 a position, and no values: llama-completion of
// llama.cpp 0.7.0 prints 16.59 MiB for such a file and -c 30000.
TEST(CacheLayout, LatentAttentionKeepsOneVector) {
  Metadata m = SmallModel("deepseek2", 3);
  m.Set("deepseek2.attention.head_count_kv", uint32_t{1});
  m.Set("deepseek2.attention.key_length", uint32_t{96});
  m.Set("deepseek2.attention.value_length", uint32_t{64});
  m.Set("deepseek2.attention.key_length_mla", uint32_t{64});
  m.Set("deepseek2.attention.value_length_mla", uint32_t{32});
  EXPECT_EQ(SizeOf(m, 30000).bytes(), 3 * 30208 * 96 * 2);
  EXPECT_NEAR(static_cast<double>(SizeOf(m, 30000).bytes()) / (1 << 20), 16.59,
              0.006);
}

// Likewise 0.27 MiB, and 0.82 MiB with -np 3.
TEST(CacheLayout, StatesAreThoseOfLlamaCpp) {
  Metadata m = SmallModel("mamba2", 4);
  m.Set("mamba2.attention.head_count", uint32_t{0});
  m.Set("mamba2.ssm.conv_kernel", uint32_t{4});
  m.Set("mamba2.ssm.inner_size", uint32_t{256});
  m.Set("mamba2.ssm.state_size", uint32_t{64});
  m.Set("mamba2.ssm.group_count", uint32_t{2});
  const auto layout = CacheLayoutOf(m);
  ASSERT_TRUE(layout.ok()) << layout.status();
  constexpr double kMib = 1 << 20;
  EXPECT_NEAR(
      static_cast<double>(CacheBytes(*layout, kHalf, {30000, 1, 512}).bytes()) /
          kMib,
      0.27, 0.006);
  EXPECT_NEAR(
      static_cast<double>(CacheBytes(*layout, kHalf, {10000, 3, 512}).bytes()) /
          kMib,
      0.82, 0.006);
}

TEST(CacheLayout, SharedLayersKeepNothing) {
  Metadata m = SmallModel("gemma4", 4);
  m.Set("gemma4.attention.sliding_window", uint32_t{512});
  m.Set("gemma4.attention.sliding_window_pattern",
        std::vector<bool>{true, false, true, false});
  m.Set("gemma4.attention.shared_kv_layers", uint32_t{2});
  const CacheSize size = SizeOf(m, 4096);
  EXPECT_EQ(size.full_bytes, 4096 * kRow);
  EXPECT_EQ(size.sliding_bytes, 1024 * kRow);
}

TEST(CacheLayout, AWindowNeverNeedsMoreThanTheContext) {
  Metadata m = SmallModel("gpt-oss", 2);
  m.Set("gpt-oss.attention.sliding_window", uint32_t{128});
  EXPECT_EQ(SizeOf(m, 256).sliding_bytes, 256 * kRow);
  EXPECT_EQ(SizeOf(m, 100000).sliding_bytes, 768 * kRow);
}

TEST(CacheLayout, RecurrentStatesDoNotGrowWithTheContext) {
  Metadata m = SmallModel("jamba", 4);
  m.Set("jamba.attention.head_count_kv", std::vector<int32_t>{0, 2, 0, 0});
  m.Set("jamba.ssm.conv_kernel", uint32_t{4});
  m.Set("jamba.ssm.inner_size", uint32_t{512});
  m.Set("jamba.ssm.state_size", uint32_t{16});
  // Three columns of the convolution and the state, float32.
  EXPECT_EQ(SizeOf(m, 1024).state_bytes, 3 * (3 * 512 + 16 * 512) * 4);
  EXPECT_EQ(SizeOf(m, 1024).full_bytes, 1024 * kRow);
  EXPECT_EQ(SizeOf(m, 8192).state_bytes, SizeOf(m, 1024).state_bytes);
}

TEST(CacheLayout, PredictingLayersAreNotCounted) {
  Metadata m = SmallModel("newfamily", 3);
  m.Set("newfamily.nextn_predict_layers", uint32_t{1});
  EXPECT_EQ(SizeOf(m, 256).bytes(), 2 * 256 * kRow);
}

TEST(CacheLayout, RefusesWhatCannotBe) {
  Metadata m = SmallModel("newfamily", 0);
  EXPECT_THAT(CacheLayoutOf(m).status().message(), HasSubstr("block_count"));
  m = SmallModel("newfamily", 2);
  m.Set("newfamily.attention.key_length", std::string("wide"));
  EXPECT_THAT(CacheLayoutOf(m).status().message(), HasSubstr("no integer"));
  m.Set("newfamily.attention.key_length", uint32_t{0xffffffff});
  EXPECT_EQ(CacheLayoutOf(m).status().code(), absl::StatusCode::kDataLoss);
}

TEST(CacheBytes, SaturatesInsteadOfOverflowing) {
  Metadata m = SmallModel("newfamily", 1 << 16);
  m.Set("newfamily.attention.key_length", uint32_t{1 << 20});
  const auto layout = CacheLayoutOf(m);
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(CacheBytes(*layout, kHalf, {int64_t{1} << 30, 256, 512}).bytes(),
            int64_t{1} << 60);
}

TEST(CacheTypes, BlocksMustDivideHeads) {
  Metadata m = SmallModel("newfamily", 1);
  m.Set("newfamily.attention.key_length", uint32_t{80});
  const auto layout = CacheLayoutOf(m);
  EXPECT_TRUE(CheckCacheTypes(*layout, kHalf).ok());
  EXPECT_THAT(CheckCacheTypes(*layout, kMixed).message(),
              HasSubstr("do not divide heads of 80"));
}

}  // namespace
}  // namespace narrow
