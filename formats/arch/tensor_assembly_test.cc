#include "formats/arch/tensor_assembly.h"

#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/arch/tiny_model.h"
#include "formats/base/float16.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

const CheckpointTensor* Find(const Assembly& assembly, absl::string_view name) {
  for (const CheckpointTensor& tensor : assembly.tensors) {
    if (tensor.meta.name == name) {
      return &tensor;
    }
  }
  return nullptr;
}

class TensorAssemblyTest : public testing::TestWithParam<TinyFamily> {};

TEST_P(TensorAssemblyTest, EveryStoredTensorArrivesOnce) {
  TinyModel model(GetParam());
  const auto assembly = model.Assemble();
  ASSERT_TRUE(assembly.ok()) << assembly.status();
  std::map<const TensorView*, int64_t> n_rows;
  for (const CheckpointTensor& tensor : assembly->tensors) {
    int64_t rows = 0;
    for (const RowSegment& segment : tensor.segments) {
      EXPECT_EQ(segment.view->meta.n_cols(), tensor.meta.n_cols());
      rows += segment.n_rows;
      n_rows[segment.view] += segment.n_rows;
    }
    EXPECT_TRUE(tensor.owned != nullptr || rows == tensor.meta.n_rows())
        << tensor.meta.name;
    EXPECT_EQ(tensor.layer, LayerOf(tensor.meta.name));
    if (tensor.meta.shape.size() == 1) {
      EXPECT_EQ(tensor.meta.type, QuantType::kF32) << tensor.meta.name;
    }
  }
  for (const auto& [view, rows] : n_rows) {
    EXPECT_EQ(rows, view->meta.n_rows()) << view->meta.name;
  }
}

TEST_P(TensorAssemblyTest, AnyMissingTensorIsNamed) {
  const size_t n = TinyModel(GetParam()).source.tensors().size();
  for (size_t i = 0; i < n; ++i) {
    TinyModel model(GetParam());
    const std::string name = model.source.tensors()[i].meta.name;
    if (name == "lm_head.weight" && model.config.arch == "gemma2") {
      continue;  // left out anyway
    }
    ASSERT_TRUE(model.source.Remove(name));
    const auto assembly = model.Assemble();
    ASSERT_EQ(assembly.status().code(), absl::StatusCode::kDataLoss) << name;
    EXPECT_TRUE(absl::StrContains(assembly.status().message(), "is missing"))
        << assembly.status();
    EXPECT_TRUE(
        absl::StrContains(assembly.status().message(), "model.safetensors"));
  }
}

TEST_P(TensorAssemblyTest, AnyWrongShapeIsNamedWithBothShapes) {
  const size_t n = TinyModel(GetParam()).source.tensors().size();
  for (size_t i = 0; i < n; ++i) {
    TinyModel model(GetParam());
    TensorView* view =
        model.source.FindMutable(model.source.tensors()[i].meta.name);
    const std::string right = ShapeString(view->meta.shape);
    view->meta.shape[0] -= 1;
    const auto assembly = model.Assemble();
    ASSERT_EQ(assembly.status().code(), absl::StatusCode::kDataLoss)
        << view->meta.name;
    EXPECT_TRUE(absl::StrContains(assembly.status().message(), right));
    EXPECT_TRUE(absl::StrContains(assembly.status().message(),
                                  ShapeString(view->meta.shape)));
  }
}

TEST_P(TensorAssemblyTest, UnknownTensorsAreRefused) {
  for (const char* name :
       {"model.layers.2.input_layernorm.weight", "model.layers.0.extra.weight",
        "model.layers.00.input_layernorm.weight", "blk.0.attn_q.weight",
        "model.layers.99999999999999999999.input_layernorm.weight", "", ".",
        "model.embed_tokens.weight.weight_scale"}) {
    TinyModel model(GetParam());
    model.source.Add(name, QuantType::kBF16, {24});
    const auto assembly = model.Assemble();
    EXPECT_EQ(assembly.status().code(), absl::StatusCode::kUnimplemented)
        << name;
  }
}

TEST_P(TensorAssemblyTest, BuffersAndVisionTowersAreLeftOut) {
  TinyModel model(GetParam());
  const size_t n = model.Assemble()->tensors.size();
  model.source.Add("model.layers.0.self_attn.rotary_emb.inv_freq",
                   QuantType::kF32, {4});
  model.source.Add("vision_tower.encoder.weight", QuantType::kI64, {3, 3});
  model.source.Add("multi_modal_projector.mm_input_projection_weight",
                   QuantType::kF16, {3, 3});
  const auto assembly = model.Assemble();
  ASSERT_TRUE(assembly.ok()) << assembly.status();
  EXPECT_EQ(assembly->tensors.size(), n);
  EXPECT_EQ(assembly->matrix_type, QuantType::kBF16);
}

TEST_P(TensorAssemblyTest, OtherElementTypesAreRefusedByName) {
  for (QuantType type : {QuantType::kF64, QuantType::kF8E4M3, QuantType::kI8}) {
    TinyModel model(GetParam(), type);
    const auto assembly = model.Assemble();
    EXPECT_EQ(assembly.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_TRUE(absl::StrContains(assembly.status().message(), TypeName(type)));
  }
}

TEST_P(TensorAssemblyTest, IntermediateTypeIsThatOfMatricesOnly) {
  for (const auto& [name, type] :
       {std::pair{"f32", QuantType::kF32}, std::pair{"f16", QuantType::kF16},
        std::pair{"bf16", QuantType::kBF16}}) {
    TinyModel model(GetParam(), QuantType::kF32);
    const auto assembly = model.Assemble(name);
    ASSERT_TRUE(assembly.ok());
    EXPECT_EQ(assembly->matrix_type, type);
    for (const CheckpointTensor& tensor : assembly->tensors) {
      const bool is_f32 =
          tensor.meta.shape.size() == 1 ||
          absl::EndsWith(tensor.meta.name, "ffn_gate_inp.weight");
      EXPECT_EQ(tensor.meta.type, is_f32 ? QuantType::kF32 : type)
          << tensor.meta.name;
      EXPECT_EQ(tensor.stored, QuantType::kF32);
    }
  }
  TinyModel model(GetParam());
  EXPECT_EQ(model.Assemble("q8_0").status().code(),
            absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Families, TensorAssemblyTest,
                         testing::ValuesIn(kTinyFamilies),
                         [](const auto& info) {
                           return absl::StrCat(
                               info.param.model_type,
                               info.param.fused_experts ? "_fused" : "");
                         });

TEST(TensorAssembly, AutoIsF16WithoutA16BitMatrix) {
  TinyModel model(kTinyFamilies[0], QuantType::kF32);
  EXPECT_EQ(model.Assemble()->matrix_type, QuantType::kF16);
  TinyModel half(kTinyFamilies[0], QuantType::kF16);
  EXPECT_EQ(half.Assemble()->matrix_type, QuantType::kF16);
}

TEST(TensorAssembly, AutoPassesOverWhatIsLeftOut) {
  TinyModel model({"Gemma2ForCausalLM", "gemma2", false});
  model.source.FindMutable("lm_head.weight")->meta.type = QuantType::kF16;
  EXPECT_EQ(model.Assemble()->matrix_type, QuantType::kBF16);
}

TEST(TensorAssembly, LlamaBiasesAreInterleavedByHead) {
  TinyModel model(kTinyFamilies[0], QuantType::kF32);
  TensorView* view =
      model.source.FindMutable("model.layers.0.self_attn.k_proj.bias");
  std::vector<float> values;
  for (int i = 0; i < 16; ++i) {
    values.push_back(static_cast<float>(i));
  }
  view->data = {reinterpret_cast<const uint8_t*>(values.data()), 64};
  const auto assembly = model.Assemble();
  ASSERT_TRUE(assembly.ok());
  const CheckpointTensor* bias = Find(*assembly, "blk.0.attn_k.bias");
  ASSERT_NE(bias->owned, nullptr);
  std::vector<float> got(16);
  std::memcpy(got.data(), bias->owned->data(), 64);
  EXPECT_EQ(got, (std::vector<float>{0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10,
                                     14, 11, 15}));
  EXPECT_EQ(Find(*assembly, "blk.0.attn_k.weight")->interleave_group, 8);
  EXPECT_EQ(Find(*assembly, "blk.0.attn_v.weight")->interleave_group, 0);
}

TEST(TensorAssembly, GemmaNormsGainOneInTheStoredHalfPrecision) {
  const TinyFamily gemma = {"Gemma3ForCausalLM", "gemma3_text", false};
  TinyModel wide(gemma);
  const auto assembly = wide.Assemble();
  EXPECT_EQ(Find(*assembly, "blk.0.attn_norm.weight")->offset, 1);
  EXPECT_EQ(Find(*assembly, "blk.0.attn_q.weight")->offset, 0);

  TinyModel half(gemma, QuantType::kF16);
  TensorView* view = half.source.FindMutable("model.norm.weight");
  const std::vector<uint16_t> tiny(24, F16FromFloat(0.0006f));
  view->data = {reinterpret_cast<const uint8_t*>(tiny.data()), 48};
  const auto half_assembly = half.Assemble();
  const CheckpointTensor* norm = Find(*half_assembly, "output_norm.weight");
  ASSERT_NE(norm->owned, nullptr);
  float value;
  std::memcpy(&value, norm->owned->data(), sizeof(value));
  EXPECT_EQ(value, 1.0009765625f);  // the half next to 1.0006
  EXPECT_EQ(norm->offset, 0);

  // Not where the model itself is wanted.
  const auto exact = half.Assemble("exact");
  EXPECT_EQ(exact->matrix_type, QuantType::kF32);
  EXPECT_EQ(Find(*exact, "output_norm.weight")->owned, nullptr);
  EXPECT_EQ(Find(*exact, "output_norm.weight")->stored, QuantType::kF16);
  EXPECT_EQ(Find(*exact, "output_norm.weight")->offset, 1);
}

TEST(TensorAssembly, EmbeddingIsTrimmedToTheVocabulary) {
  TinyModel model({"Gemma3ForCausalLM", "gemma3_text", false});
  const auto assembly = model.Assemble("auto", 47);
  const CheckpointTensor* embedding = Find(*assembly, "token_embd.weight");
  EXPECT_EQ(embedding->meta.shape, (std::vector<int64_t>{47, 24}));
  EXPECT_EQ(embedding->segments[0].n_rows, 47);
  EXPECT_EQ(
      Find(*model.Assemble("auto", 51), "token_embd.weight")->meta.shape[0],
      50);
}

TEST(TensorAssembly, FusedExpertsAreSplitIntoHalves) {
  TinyModel model({"Qwen3MoeForCausalLM", "qwen3_moe", true});
  const auto assembly = model.Assemble();
  ASSERT_TRUE(assembly.ok()) << assembly.status();
  const CheckpointTensor* up = Find(*assembly, "blk.1.ffn_up_exps.weight");
  EXPECT_EQ(up->meta.shape, (std::vector<int64_t>{3, 12, 24}));
  ASSERT_EQ(up->segments.size(), 3u);
  EXPECT_EQ(up->segments[2].first_row, 2 * 24 + 12);
  EXPECT_EQ(
      Find(*assembly, "blk.1.ffn_gate_exps.weight")->segments[2].first_row,
      2 * 24);
}

TEST(TensorAssembly, ExpertsOfTwoTypesAreRefused) {
  TinyModel model({"MixtralForCausalLM", "mixtral", false});
  model.source
      .FindMutable("model.layers.1.block_sparse_moe.experts.2.w1.weight")
      ->meta.type = QuantType::kF16;
  EXPECT_EQ(model.Assemble().status().code(), absl::StatusCode::kUnimplemented);
}

TEST(TensorAssembly, TiedModelsNeedNoHead) {
  TinyModel model(kTinyFamilies[0], QuantType::kBF16,
                  ", \"tie_word_embeddings\": true");
  EXPECT_NE(Find(*model.Assemble(), "output.weight"), nullptr);
  model.source.Remove("lm_head.weight");
  EXPECT_EQ(Find(*model.Assemble(), "output.weight"), nullptr);
}

TEST(TensorAssembly, DenseLayersOfAMixtureAreWhereTheConfigSays) {
  TinyModel model({"Qwen3MoeForCausalLM", "qwen3_moe", false}, QuantType::kBF16,
                  ", \"mlp_only_layers\": [0, 7]");
  const auto assembly = model.Assemble();
  EXPECT_TRUE(absl::StrContains(assembly.status().message(),
                                "model.layers.0.mlp.gate_proj.weight"))
      << assembly.status();
}

TEST(LayerOf, ReadsTheNumberOfABlock) {
  EXPECT_EQ(LayerOf("blk.12.attn_q.weight"), 12);
  EXPECT_EQ(LayerOf("output.weight"), -1);
  EXPECT_EQ(LayerOf("blk."), -1);
  EXPECT_EQ(LayerOf("blk.x.y"), -1);
  EXPECT_EQ(LayerOf("blk.99999999999.y"), -1);
}

}  // namespace
}  // namespace narrow
