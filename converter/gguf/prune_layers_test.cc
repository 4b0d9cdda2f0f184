#include "converter/gguf/prune_layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> NamesOf(int n_layers) {
  std::vector<std::string> names = {"token_embd.weight", "output.weight"};
  for (int layer = n_layers - 1; layer >= 0; --layer) {
    names.push_back(absl::StrCat("blk.", layer, ".attn_q.weight"));
    names.push_back(absl::StrCat("blk.", layer, ".ffn_up.weight"));
  }
  return names;
}

LayerPruning MustPrune(const std::string& layers, int n_layers) {
  auto pruning =
      LayerPruning::Create(ParseLayerList(layers).value(), NamesOf(n_layers));
  EXPECT_TRUE(pruning.ok()) << pruning.status();
  return *pruning;
}

TEST(PruneLayersTest, ListsAreNumbersAndRanges) {
  EXPECT_THAT(ParseLayerList("3,5-7").value(), ElementsAre(3, 5, 6, 7));
  EXPECT_THAT(ParseLayerList("7, 0 ,3-3,2-4").value(),
              ElementsAre(0, 2, 3, 4, 7));
  for (const char* bad : {"", ",", "a", "1,", "-1", "3-", "5-3", "1-2-3", "1.5",
                          "+1", "100000", "0-99999999999"}) {
    EXPECT_EQ(ParseLayerList(bad).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

TEST(PruneLayersTest, WhatStaysIsNumberedAnew) {
  const LayerPruning pruning = MustPrune("0,2-3", 12);
  EXPECT_EQ(pruning.NewName("blk.0.attn_q.weight"), "");
  EXPECT_EQ(pruning.NewName("blk.1.attn_q.weight"), "blk.0.attn_q.weight");
  EXPECT_EQ(pruning.NewName("blk.3.attn_q.weight"), "");
  EXPECT_EQ(pruning.NewName("blk.11.ffn_down_exps.weight"),
            "blk.8.ffn_down_exps.weight");
  EXPECT_EQ(pruning.NewName("token_embd.weight"), "token_embd.weight");
  EXPECT_EQ(LayerPruning().NewName("blk.3.attn_q.weight"),
            "blk.3.attn_q.weight");
}

TEST(PruneLayersTest, WhatCannotBePrunedIsRefused) {
  const auto error = [](const std::string& layers,
                        const std::vector<std::string>& names) {
    const auto pruning =
        LayerPruning::Create(ParseLayerList(layers).value(), names);
    EXPECT_FALSE(pruning.ok());
    return std::string(pruning.status().message());
  };
  EXPECT_THAT(error("4", NamesOf(4)), HasSubstr("0 to 3"));
  EXPECT_THAT(error("0-3", NamesOf(4)), HasSubstr("all 4 layers"));
  EXPECT_THAT(error("0", {"token_embd.weight"}), HasSubstr("no layers"));
  EXPECT_THAT(error("0", {"blk.0.a.weight", "blk.2.a.weight"}),
              HasSubstr("the last has number 2"));
  EXPECT_THAT(error("0", {"enc.blk.0.a.weight", "dec.blk.0.a.weight"}),
              HasSubstr("stacks"));
}

TEST(PruneLayersTest, KeysOfEveryLayerFollow) {
  Metadata metadata;
  metadata.Set("general.architecture", std::string("fam"));
  metadata.Set("fam.block_count", uint32_t{4});
  metadata.Set("fam.attention.head_count", std::vector<int32_t>{8, 7, 6, 5});
  metadata.Set("fam.attention.sliding_window_pattern",
               std::vector<bool>{true, true, true, false});
  metadata.Set("fam.rope.dimension_sections", std::vector<int32_t>{1, 2, 3, 4});
  metadata.Set("fam.other", std::vector<float>{1, 2, 3});
  metadata.Set("fam.leading_dense_block_count", uint32_t{2});
  metadata.Set("fam.nextn_predict_layers", uint32_t{1});
  metadata.Set("tokenizer.tokens", std::vector<int32_t>{1, 2, 3, 4});
  MustPrune("1,3", 4).PruneMetadata(&metadata);
  const auto expect = [&](const char* key, const MetadataValue& value) {
    ASSERT_TRUE(metadata.Has(key)) << key;
    EXPECT_EQ(*metadata.Find(key), value) << key;
  };
  expect("fam.attention.head_count", std::vector<int32_t>{8, 6});
  expect("fam.attention.sliding_window_pattern", std::vector<bool>{true, true});
  expect("fam.rope.dimension_sections", std::vector<int32_t>{1, 2, 3, 4});
  expect("fam.other", std::vector<float>{1, 2, 3});
  expect("fam.leading_dense_block_count", uint32_t{1});
  expect("fam.nextn_predict_layers", uint32_t{0});
  expect("tokenizer.tokens", std::vector<int32_t>{1, 2, 3, 4});
  expect("fam.block_count", uint32_t{2});
  EXPECT_EQ(metadata.entries().back().first, "fam.block_count");
}

TEST(PruneLayersTest, WarnsOfWindowsThatMove) {
  Metadata metadata;
  metadata.Set("general.architecture", std::string("gemma3"));
  EXPECT_THAT(MustPrune("1", 6).Warnings(metadata), IsEmpty()) << "no window";
  metadata.Set("gemma3.attention.sliding_window", uint32_t{512});
  const auto warnings = MustPrune("1", 6).Warnings(metadata);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("'gemma3.attention.sliding_window_pattern="
                                     "bool:[true,true,true,true,false]'"));
  // Layers behind the last that stays where it was.
  EXPECT_THAT(MustPrune("6-11", 12).Warnings(metadata), IsEmpty());
  metadata.Set("gemma3.attention.sliding_window_pattern",
               std::vector<bool>(6, true));
  EXPECT_THAT(MustPrune("1", 6).Warnings(metadata), IsEmpty()) << "a list";
}

}  // namespace
}  // namespace narrow
