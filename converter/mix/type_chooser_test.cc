// Every choice that llama-quantize made for the synthetic models of
// testdata/mix, and the messages of what it refuses.

#include "converter/mix/type_chooser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "converter/mix/tensor_role.h"
#include "formats/json/json.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

constexpr char kGoldens[] = "testdata/mix/mix_goldens.json";

std::string Text(const JsonValue& object, absl::string_view key) {
  return std::string(object.Get(key)->GetString().value());
}

int64_t Number(const JsonValue& object, absl::string_view key,
               int64_t missing) {
  const auto value = object.Find(key);
  return value.has_value() ? value->GetInteger().value() : missing;
}

std::vector<JsonValue> Elements(const JsonValue& object,
                                absl::string_view key) {
  return object.Get(key)->GetElements().value();
}

struct Model {
  std::string name;
  MixModel facts;
  std::vector<TensorMeta> tensors;  // in llama-quantize's order
};

Model ReadModel(const JsonValue& json) {
  Model model;
  model.name = Text(json, "name");
  model.facts.arch = Text(json, "arch");
  const JsonValue keys = *json.Get("keys");
  model.facts.n_layers = Number(keys, "block_count", 0);
  model.facts.n_heads = Number(keys, "attention.head_count", 0);
  model.facts.n_kv_heads = Number(keys, "attention.head_count_kv", 0);
  model.facts.n_experts = Number(keys, "expert_count", 0);
  std::vector<TensorMeta> stored;
  for (const JsonValue& row : Elements(json, "tensors")) {
    const std::vector<JsonValue> pair = row.GetElements().value();
    TensorMeta meta;
    meta.name = std::string(pair[0].GetString().value());
    const std::vector<JsonValue> sizes = pair[1].GetElements().value();
    for (const JsonValue& size : sizes) {
      meta.shape.push_back(size.GetInteger().value());
    }
    meta.type = meta.shape.size() == 1 ? QuantType::kF32 : QuantType::kF16;
    const TensorRole role = RoleOf(meta.name);
    model.facts.n_attention_v += IsAttentionV(role) ? 1 : 0;
    if (role == TensorRole::kOutput) {
      model.facts.tied_embeddings = false;
    }
    stored.push_back(meta);
  }
  for (const JsonValue& i : Elements(json, "order")) {
    model.tensors.push_back(
        stored[static_cast<size_t>(i.GetInteger().value())]);
  }
  return model;
}

Recipe ReadRecipe(const JsonValue& run) {
  Recipe recipe;
  recipe.file_type = ParseFileType(Text(run, "file_type")).value();
  std::vector<std::string> flags;
  for (const JsonValue& flag : Elements(run, "flags")) {
    flags.push_back(std::string(flag.GetString().value()));
  }
  for (size_t i = 0; i < flags.size(); ++i) {
    if (flags[i] == "--pure") {
      recipe.pure = true;
    } else if (flags[i] == "--leave-output-tensor") {
      recipe.leave_output = true;
    } else if (flags[i] == "--output-tensor-type") {
      recipe.output_type = TypeFromName(flags[++i]);
    } else if (flags[i] == "--token-embedding-type") {
      recipe.embedding_type = TypeFromName(flags[++i]);
    } else if (flags[i] == "--tensor-type") {
      const std::string& row = flags[++i];
      const size_t equals = row.rfind('=');
      recipe.overrides.push_back(
          {row.substr(0, equals), *TypeFromName(row.substr(equals + 1))});
    } else {
      ADD_FAILURE() << "unknown flag " << flags[i];
    }
  }
  return recipe;
}

// Runs the chooser over the model; the first error, if any.
absl::Status ChooseAll(const Model& model, const Recipe& recipe,
                       bool importance, std::vector<std::string>* types) {
  MixModel facts = model.facts;
  facts.has_importance = importance;
  auto chooser = TypeChooser::Create(recipe, facts);
  if (!chooser.ok()) {
    return chooser.status();
  }
  for (const TensorMeta& meta : model.tensors) {
    const auto choice = chooser->Choose(meta);
    if (!choice.ok()) {
      return choice.status();
    }
    types->push_back(TypeName(choice->type));
  }
  return absl::OkStatus();
}

TEST(TypeChooserTest, ChoosesAsLlamaQuantize) {
  auto document = JsonDocument::ReadFile(kGoldens);
  ASSERT_TRUE(document.ok()) << document.status();
  const JsonValue root = (*document)->root();
  const std::string letters = Text(root, "letters");
  std::vector<std::string> type_names;
  for (const JsonValue& name : Elements(root, "types")) {
    type_names.push_back(std::string(name.GetString().value()));
  }
  std::vector<Model> models;
  for (const JsonValue& json : Elements(root, "models")) {
    models.push_back(ReadModel(json));
  }
  int n_choices = 0;
  for (const JsonValue& run : Elements(root, "runs")) {
    const Recipe recipe = ReadRecipe(run);
    const bool importance = run.Get("importance")->GetBool().value();
    for (const Model& model : models) {
      if (model.name != Text(run, "model")) {
        continue;
      }
      SCOPED_TRACE(model.name + " " + Text(run, "file_type") +
                   (importance ? " with importance" : ""));
      std::vector<std::string> types;
      const absl::Status status = ChooseAll(model, recipe, importance, &types);
      if (run.Find("refused").has_value()) {
        EXPECT_FALSE(status.ok());
        continue;
      }
      ASSERT_TRUE(status.ok()) << status;
      const std::string expected = Text(run, "types");
      ASSERT_EQ(types.size(), expected.size());
      for (size_t i = 0; i < types.size(); ++i) {
        EXPECT_EQ(types[i], type_names.at(letters.find(expected[i])))
            << model.tensors[i].name;
        ++n_choices;
      }
    }
  }
  EXPECT_GT(n_choices, 300000);
}

TEST(TypeChooserTest, RefusesABadPatternAndATypeThatDoesNotFit) {
  Recipe recipe;
  recipe.overrides.push_back({"attn[", QuantType::kQ4_K});
  const auto refused = TypeChooser::Create(recipe, MixModel());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("attn["));

  recipe.overrides.clear();
  recipe.output_type = QuantType::kQ4_K;
  auto chooser = TypeChooser::Create(recipe, MixModel());
  ASSERT_TRUE(chooser.ok());
  const auto choice =
      chooser->Choose({"output.weight", QuantType::kF16, {4, 96}});
  EXPECT_EQ(choice.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(choice.status().message()),
              HasSubstr("output.weight"));
}

// A file type's rules and fall-backs give what `narrow types` says they can.
TEST(MixRulesTest, PossibleTypesAreThoseThatWereChosen) {
  auto document = JsonDocument::ReadFile(kGoldens);
  ASSERT_TRUE(document.ok()) << document.status();
  for (const JsonValue& json : Elements((*document)->root(), "models")) {
    const Model model = ReadModel(json);
    for (const FileTypeInfo& info : AllFileTypes()) {
      Recipe recipe;
      recipe.file_type = info.type;
      const std::vector<QuantType> possible = PossibleTypes(info.type);
      MixModel facts = model.facts;
      facts.has_importance = true;
      auto chooser = TypeChooser::Create(recipe, facts);
      ASSERT_TRUE(chooser.ok());
      for (const TensorMeta& meta : model.tensors) {
        const auto choice = chooser->Choose(meta);
        if (!choice.ok() || choice->type == meta.type) {
          continue;
        }
        EXPECT_THAT(possible, testing::Contains(choice->type))
            << model.name << " " << info.name << " " << meta.name;
      }
    }
  }
}

TEST(MixRulesTest, LowTypesDemandImportanceButForTablesAndOutputs) {
  const TensorRole layer = TensorRole::kAttentionQ;
  EXPECT_TRUE(DemandsImportance(FileType::kIQ2_S, QuantType::kIQ2_S, layer));
  EXPECT_TRUE(DemandsImportance(FileType::kQ2_K_S, QuantType::kQ2_K, layer));
  EXPECT_FALSE(DemandsImportance(FileType::kQ2_K, QuantType::kQ2_K, layer));
  EXPECT_FALSE(DemandsImportance(FileType::kIQ2_S, QuantType::kIQ2_S,
                                 TensorRole::kTokenEmbedding));
  // ggml cannot encode it without, wherever it is.
  EXPECT_TRUE(DemandsImportance(FileType::kQ8_0, QuantType::kIQ1_S,
                                TensorRole::kTokenEmbedding));
}

// Llama-quantize has no file type NVFP4; its users' matrices are all that.
TEST(MixRulesTest, Nvfp4TakesMatricesAndLeavesTheTables) {
  Recipe recipe;
  recipe.file_type = FileType::kNVFP4;
  MixModel facts;
  facts.arch = "llama";
  facts.n_layers = 1;
  facts.tied_embeddings = false;
  auto chooser = TypeChooser::Create(recipe, facts);
  ASSERT_TRUE(chooser.ok());
  const auto choose = [&](const char* name, std::vector<int64_t> shape) {
    return chooser->Choose({name, QuantType::kF16, std::move(shape)}).value();
  };
  EXPECT_EQ(choose("output.weight", {8, 128}).type, QuantType::kQ8_0);
  EXPECT_EQ(choose("token_embd.weight", {8, 128}).type, QuantType::kQ8_0);
  EXPECT_EQ(choose("blk.0.attn_q.weight", {8, 128}).type, QuantType::kNVFP4);
  EXPECT_EQ(choose("blk.0.ffn_gate_exps.weight", {4, 8, 128}).type,
            QuantType::kNVFP4);
  const TypeChoice ragged = choose("blk.0.ffn_down.weight", {8, 96});
  EXPECT_EQ(ragged.type, QuantType::kIQ4_NL);
  EXPECT_EQ(ragged.wanted, QuantType::kNVFP4);
  EXPECT_TRUE(ragged.fell_back());
}

TEST(FileTypeTest, NamesAliasesNumbersAndNearest) {
  EXPECT_EQ(ParseFileType("q4_k_m").value(), FileType::kQ4_K_M);
  EXPECT_EQ(ParseFileType("Q4_K").value(), FileType::kQ4_K_M);
  EXPECT_EQ(ParseFileType("15").value(), FileType::kQ4_K_M);
  const auto unknown = ParseFileType("Q4_KM");
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("Q4_K_M"));
}

}  // namespace
}  // namespace narrow
