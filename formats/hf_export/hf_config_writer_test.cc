#include "formats/hf_export/hf_config_writer.h"

#include <string>

#include "absl/strings/match.h"
#include "formats/base/file.h"
#include "formats/gguf/gguf_writer.h"
#include "formats/hf/hf_config.h"
#include "formats/json/json.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

TEST(HfConfigWriter, KnowsEveryKeyOfEveryClass) {
  for (const HfClass& cls : AllHfClasses()) {
    const auto defaults = JsonDocument::Parse(cls.defaults, cls.model_type);
    const auto members = (*defaults)->root().GetMembers();
    for (const auto& [key, value] : *members) {
      EXPECT_TRUE(KnowsHfConfigKey(key)) << cls.model_type << " " << key;
    }
  }
}

// Metadata of a small model of one family, without tokens.
Metadata SmallModel(const std::string& arch) {
  Metadata m;
  m.Set("general.architecture", arch);
  m.Set(arch + ".block_count", uint32_t{2});
  m.Set(arch + ".context_length", uint32_t{256});
  m.Set(arch + ".embedding_length", uint32_t{64});
  m.Set(arch + ".feed_forward_length", uint32_t{96});
  m.Set(arch + ".attention.head_count", uint32_t{4});
  m.Set(arch + ".attention.head_count_kv", uint32_t{2});
  m.Set(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
  m.Set(arch + ".rope.freq_base", 50000.0f);
  return m;
}

// Such a model with nothing but an embedding: enough for its config.
absl::StatusOr<HfConfigFiles> ConfigOf(const Metadata& metadata,
                                       const Disassembly& tensors = {}) {
  const std::string path = JoinPath(testing::TempDir(), "small.gguf");
  const auto sink = NewGgufWriter(path);
  EXPECT_TRUE(
      sink->Begin({{"token_embd.weight", QuantType::kF32, {8, 64}}}, metadata)
          .ok());
  EXPECT_TRUE(sink->Append(std::vector<uint8_t>(8 * 64 * 4)).ok());
  EXPECT_TRUE(sink->Finish().ok());
  const auto model = Checkpoint::Open(path, {});
  EXPECT_TRUE(model.ok()) << model.status();
  return WriteHfConfig({**model, tensors, "bfloat16"});
}

std::unique_ptr<const HfConfig> Parsed(const HfConfigFiles& files) {
  auto config = HfConfig::Parse(files.config, "config.json");
  EXPECT_TRUE(config.ok()) << config.status() << files.config;
  return *std::move(config);
}

TEST(HfConfigWriter, ChoosesTheClassByExpertsAndWindow) {
  Metadata m = SmallModel("llama");
  EXPECT_EQ(Parsed(*ConfigOf(m))->architecture(), "LlamaForCausalLM");
  m.Set("llama.attention.sliding_window", uint32_t{32});
  EXPECT_EQ(Parsed(*ConfigOf(m))->architecture(), "MistralForCausalLM");
  m = SmallModel("llama");
  m.Set("llama.expert_count", uint32_t{4});
  m.Set("llama.expert_used_count", uint32_t{2});
  const auto mixtral = Parsed(*ConfigOf(m));
  EXPECT_EQ(mixtral->architecture(), "MixtralForCausalLM");
  EXPECT_EQ(*mixtral->RequireSize({"num_local_experts"}, 99), 4);
}

TEST(HfConfigWriter, WritesRotaryParametersForOldAndNewReaders) {
  Metadata m = SmallModel("llama");
  m.Set("llama.rope.scaling.type", std::string("yarn"));
  m.Set("llama.rope.scaling.factor", 4.0f);
  m.Set("llama.rope.scaling.original_context_length", uint32_t{64});
  m.Set("llama.rope.scaling.yarn_beta_fast", 24.0f);
  const auto files = ConfigOf(m);
  ASSERT_TRUE(files.ok()) << files.status();
  const auto config = Parsed(*files);
  const JsonValue root = config->root();
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const auto rope = root.Find(key);
    ASSERT_TRUE(rope) << key;
    EXPECT_EQ(*rope->Find("rope_type")->GetString(), "yarn");
    EXPECT_EQ(*rope->Find("factor")->GetNumber(), 4);
    EXPECT_EQ(*rope->Find("beta_fast")->GetNumber(), 24);
    EXPECT_EQ(*rope->Find("original_max_position_embeddings")->GetInteger(),
              64);
  }
  EXPECT_EQ(*root.Find("rope_theta")->GetNumber(), 50000);
}

TEST(HfConfigWriter, SaysWhatItAssumes) {
  Metadata m = SmallModel("gemma2");
  m.Erase("gemma2.rope.freq_base");
  const auto files = ConfigOf(m);
  ASSERT_TRUE(files.ok()) << files.status();
  std::string all;
  for (const std::string& warning : files->warnings) all += warning + "\n";
  for (const char* word :
       {"query_pre_attn_scalar", "rotary base", "10000", "sliding window"}) {
    EXPECT_TRUE(absl::StrContains(all, word)) << word << " not in " << all;
  }
  EXPECT_TRUE(ConfigOf(SmallModel("llama"))->warnings.empty());
}

TEST(HfConfigWriter, EndsTextsAsLlamaCppDoes) {
  Metadata m = SmallModel("llama");
  m.Set("tokenizer.ggml.eos_token_id", uint32_t{3});
  m.Set("tokenizer.ggml.eot_token_id", uint32_t{5});
  const auto files = ConfigOf(m);
  const auto json = JsonDocument::Parse(files->generation_config, "");
  const auto ends = (*json)->root().Find("eos_token_id")->GetElements();
  ASSERT_EQ(ends->size(), 2u);
  EXPECT_EQ(*(*ends)[1].GetInteger(), 5);
}

TEST(HfConfigWriter, RefusesWhatNoClassHas) {
  Metadata capped = SmallModel("llama");
  capped.Set("llama.attn_logit_softcapping", 30.0f);
  Metadata partial = SmallModel("qwen3");
  partial.Set("qwen3.rope.dimension_count", uint32_t{8});
  Disassembly biased;
  biased.attention_bias = true;
  Metadata experts = SmallModel("llama");
  experts.Set("llama.expert_count", uint32_t{4});
  experts.Set("llama.expert_used_count", uint32_t{2});
  const struct {
    absl::StatusOr<HfConfigFiles> files;
    const char* word;
  } kRefusals[] = {
      {ConfigOf(capped), "softcapping"},
      {ConfigOf(partial), "rotating 8 of 16"},
      {ConfigOf(experts, biased), "attention bias of class Mixtral"},
  };
  for (const auto& row : kRefusals) {
    ASSERT_EQ(row.files.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_TRUE(absl::StrContains(row.files.status().message(), row.word))
        << row.files.status();
  }
}

}  // namespace
}  // namespace narrow
