#include "formats/arch/linear_groups.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/arch/config/read_model_config.h"
#include "formats/arch/fake_source.h"
#include "formats/arch/tiny_model.h"
#include "formats/containers.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using Kind = Absorber::Kind;

std::vector<ModelLinear> Linears(const TinyModel& model) {
  auto linears =
      FindLinears(model.source, *model.spec, model.config, *model.hf);
  EXPECT_TRUE(linears.ok()) << linears.status();
  return linears.ok() ? *std::move(linears) : std::vector<ModelLinear>();
}

class LinearGroupsTest : public testing::TestWithParam<TinyFamily> {};

TEST_P(LinearGroupsTest, EveryMatrixOfABlockIsInOneGroup) {
  const TinyModel model(GetParam());
  const std::vector<ModelLinear> linears = Linears(model);
  std::vector<int> times(linears.size(), 0);
  for (int layer = -1; layer < model.config.n_layers; ++layer) {
    for (const LinearGroup& group :
         GroupsOfBlock(linears, *model.spec, model.config, layer)) {
      ASSERT_FALSE(group.members.empty());
      for (size_t member : group.members) {
        EXPECT_EQ(linears[member].layer, layer);
        EXPECT_EQ(linears[member].n_cols, linears[group.members[0]].n_cols);
        ++times[member];
      }
    }
  }
  EXPECT_EQ(times, std::vector<int>(linears.size(), 1));
  // All that is two-dimensional but the embedding (and Gemma 2's copy of it).
  size_t n_matrices = 0;
  for (const TensorView& view : model.source.tensors()) {
    n_matrices += view.meta.shape.size() == 2 &&
                  !absl::StrContains(view.meta.name, "embed_tokens") &&
                  !(view.meta.name == "lm_head.weight" &&
                    model.spec->gguf_arch == std::string("gemma2"));
  }
  EXPECT_EQ(linears.size(), n_matrices);
}

TEST_P(LinearGroupsTest, AbsorbersExistAndFit) {
  const TinyModel model(GetParam());
  const std::vector<ModelLinear> linears = Linears(model);
  for (int layer = -1; layer < model.config.n_layers; ++layer) {
    for (const LinearGroup& group :
         GroupsOfBlock(linears, *model.spec, model.config, layer)) {
      const ModelLinear& first = linears[group.members[0]];
      SCOPED_TRACE(first.hf_name);
      const Absorber& absorber = group.absorber;
      const bool shares_stacked_experts =
          GetParam().fused_experts && first.is_router;
      if (shares_stacked_experts) {
        EXPECT_EQ(absorber.kind, Kind::kNone);
        continue;
      }
      const TensorView* view = model.source.Find(absorber.hf_name);
      ASSERT_NE(view, nullptr) << absorber.hf_name;
      if (absorber.kind == Kind::kNorm) {
        EXPECT_EQ(view->meta.shape, std::vector<int64_t>{first.n_cols});
        EXPECT_EQ(absorber.norm_offset,
                  absl::StartsWith(model.spec->gguf_arch, "gemma") ? 1 : 0);
        continue;
      }
      ASSERT_EQ(absorber.kind, Kind::kLinearRows);
      int64_t last = first.n_cols - 1;
      if (!absorber.row_of_column.empty()) {
        ASSERT_EQ(absorber.row_of_column.size(),
                  static_cast<size_t>(first.n_cols));
        last = *std::max_element(absorber.row_of_column.begin(),
                                 absorber.row_of_column.end());
      }
      // In all families values and `up` are a matrix's last rows.
      EXPECT_EQ(absorber.first_row + last + 1, view->meta.shape[0]);
    }
  }
}

std::string ParamName(const testing::TestParamInfo<TinyFamily>& info) {
  return absl::StrCat(info.param.architecture,
                      info.param.fused_experts ? "Fused" : "");
}

INSTANTIATE_TEST_SUITE_P(Families, LinearGroupsTest,
                         testing::ValuesIn(kTinyFamilies), ParamName);

std::string Text(const std::vector<ModelLinear>& linears,
                 const std::vector<LinearGroup>& groups) {
  std::string text;
  for (const LinearGroup& group : groups) {
    std::vector<std::string> names;
    for (size_t member : group.members) {
      names.push_back(linears[member].hf_name);
    }
    absl::StrAppend(&text, absl::StrJoin(names, " "), " <- ",
                    group.absorber.hf_name, " ", group.absorber.first_row,
                    "\n");
  }
  return text;
}

TEST(GroupsOfBlock, OfAModelInsideALargerOne) {
  TinyModel model({"Gemma3ForCausalLM", "gemma3_text", false});
  FakeSource source;
  for (const TensorView& view : model.source.tensors()) {
    source.Add(absl::StrCat("language_model.", view.meta.name), view.meta.type,
               view.meta.shape);
  }
  source.Add("vision_tower.layers.0.mlp.up_proj.weight", QuantType::kBF16,
             {8, 8});
  source.Add("language_model.model.layers.7.mlp.up_proj.weight",
             QuantType::kBF16, {8, 8});  // beyond the last layer
  auto linears = FindLinears(source, *model.spec, model.config, *model.hf);
  ASSERT_TRUE(linears.ok()) << linears.status();
  const std::string p = "language_model.model.layers.1.";
  EXPECT_EQ(
      Text(*linears, GroupsOfBlock(*linears, *model.spec, model.config, 1)),
      absl::StrCat(
          p, "self_attn.q_proj.weight ", p, "self_attn.k_proj.weight ", p,
          "self_attn.v_proj.weight <- ", p, "input_layernorm.weight 0\n",  //
          p, "self_attn.o_proj.weight <- ", p, "self_attn.v_proj.weight 0\n", p,
          "mlp.gate_proj.weight ", p, "mlp.up_proj.weight <- ", p,
          "pre_feedforward_layernorm.weight 0\n",  //
          p, "mlp.down_proj.weight <- ", p, "mlp.up_proj.weight 0\n"));
}

TEST(GroupsOfBlock, FusedRowsBeginAfterTheOthers) {
  const TinyModel model({"Phi3ForCausalLM", "phi3", false});
  const auto linears = Linears(model);
  const std::string p = "model.layers.0.";
  // 4 heads and 2 of keys, of 8 dimensions each; 40 rows of gates.
  EXPECT_EQ(Text(linears, GroupsOfBlock(linears, *model.spec, model.config, 0)),
            absl::StrCat(p, "self_attn.qkv_proj.weight <- ", p,
                         "input_layernorm.weight 0\n",  //
                         p, "self_attn.o_proj.weight <- ", p,
                         "self_attn.qkv_proj.weight 48\n",  //
                         p, "mlp.gate_up_proj.weight <- ", p,
                         "post_attention_layernorm.weight 0\n",  //
                         p, "mlp.down_proj.weight <- ", p,
                         "mlp.gate_up_proj.weight 40\n"));
}

TEST(GroupsOfBlock, QueriesShareValues) {
  const TinyModel model({"LlamaForCausalLM", "llama", false});
  const auto linears = Linears(model);
  const auto groups = GroupsOfBlock(linears, *model.spec, model.config, 0);
  std::vector<int32_t> expected;
  for (int head : {0, 0, 1, 1}) {
    for (int i = 0; i < 8; ++i) {
      expected.push_back(8 * head + i);
    }
  }
  EXPECT_EQ(groups[1].absorber.row_of_column, expected);
}

TEST(GroupsOfBlock, ExpertsShareTheInputAndHaveOutputsOfTheirOwn) {
  const TinyModel model({"MixtralForCausalLM", "mixtral", false});
  const auto linears = Linears(model);
  const auto groups = GroupsOfBlock(linears, *model.spec, model.config, 1);
  ASSERT_EQ(groups.size(), 6u);
  EXPECT_EQ(groups[2].members.size(), 7u);
  EXPECT_TRUE(linears[groups[2].members[0]].is_router);
  for (int e = 0; e < 3; ++e) {
    const ModelLinear& down = linears[groups[3 + e].members[0]];
    EXPECT_EQ(down.expert, e);
    EXPECT_EQ(down.gguf_name, "blk.1.ffn_down_exps.weight");
    EXPECT_EQ(groups[3 + e].absorber.hf_name,
              absl::StrCat("model.layers.1.block_sparse_moe.experts.", e,
                           ".w3.weight"));
  }
}

TEST(GroupsOfBlock, WithoutALayerThatSharesTheInputNothingAbsorbs) {
  TinyModel model({"LlamaForCausalLM", "llama", false});
  ASSERT_TRUE(model.source.Remove("model.layers.0.self_attn.k_proj.weight"));
  ASSERT_TRUE(model.source.Remove("model.layers.0.mlp.up_proj.weight"));
  const auto linears = Linears(model);
  for (const LinearGroup& group :
       GroupsOfBlock(linears, *model.spec, model.config, 0)) {
    const bool is_output =
        absl::StrContains(linears[group.members[0]].hf_name, "o_proj");
    EXPECT_EQ(group.absorber.kind, is_output ? Kind::kLinearRows : Kind::kNone);
  }
}

TEST(FindLinears, RefusesAShapeThatTheConfigContradicts) {
  TinyModel model({"LlamaForCausalLM", "llama", false});
  model.source.FindMutable("model.layers.1.mlp.up_proj.weight")->meta.shape[1] =
      25;
  const auto linears =
      FindLinears(model.source, *model.spec, model.config, *model.hf);
  EXPECT_EQ(linears.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(linears.status().message(),
                                "mlp.up_proj.weight' is [40, 25]"))
      << linears.status();
}

TEST(FindLinears, RefusesTwoTensorsThatMeanOne) {
  TinyModel model({"LlamaForCausalLM", "llama", false});
  model.source.Add("language_model.model.layers.1.mlp.up_proj.weight",
                   QuantType::kBF16, {40, 24});
  EXPECT_EQ(FindLinears(model.source, *model.spec, model.config, *model.hf)
                .status()
                .code(),
            absl::StatusCode::kDataLoss);
}

// Over the committed models, whose names transformers chose.
class StoredModelTest : public testing::TestWithParam<const char*> {};

TEST_P(StoredModelTest, HasALinearForEveryMatrix) {
  const std::string folder = absl::StrCat("testdata/", GetParam());
  auto hf = HfConfig::Read(folder);
  ASSERT_TRUE(hf.ok()) << hf.status();
  const ArchSpec* spec = FindArchByHfName((*hf)->architecture());
  ASSERT_NE(spec, nullptr);
  auto config = ModelConfigFromHf(**hf, *spec);
  ASSERT_TRUE(config.ok()) << config.status();
  auto source = OpenTensorSource(folder + "/model.safetensors");
  ASSERT_TRUE(source.ok()) << source.status();
  auto linears = FindLinears(**source, *spec, *config, **hf);
  ASSERT_TRUE(linears.ok()) << linears.status();
  size_t n_matrices = 0;
  for (const TensorView& view : (*source)->tensors()) {
    n_matrices += view.meta.shape.size() == 2 &&
                  !absl::StrContains(view.meta.name, "embed_tokens");
  }
  EXPECT_EQ(linears->size(), n_matrices);
  std::set<std::string> absorbers;
  for (int layer = 0; layer < config->n_layers; ++layer) {
    for (const LinearGroup& group :
         GroupsOfBlock(*linears, *spec, *config, layer)) {
      const TensorView* view = (*source)->Find(group.absorber.hf_name);
      ASSERT_NE(view, nullptr) << group.absorber.hf_name;
      EXPECT_EQ(view->meta.shape.size(),
                group.absorber.kind == Kind::kNorm ? 1u : 2u);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, StoredModelTest,
    testing::Values("arch/gemma2", "arch/gemma3_text", "arch/llama2",
                    "arch/llama3", "arch/mistral", "arch/mixtral", "arch/phi3",
                    "arch/qwen2", "arch/qwen3", "arch/qwen3_moe", "tiny-llama"),
    [](const testing::TestParamInfo<const char*>& info) {
      std::string name = info.param;
      std::replace(name.begin(), name.end(), '/', '_');
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

}  // namespace
}  // namespace narrow
