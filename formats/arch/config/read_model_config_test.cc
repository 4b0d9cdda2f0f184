#include "formats/arch/config/read_model_config.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/arch/fake_source.h"
#include "formats/json/json.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

absl::StatusOr<ModelConfig> FromText(const std::string& text) {
  auto hf = HfConfig::Parse(text, "some/config.json");
  if (!hf.ok()) {
    return hf.status();
  }
  const ArchSpec* spec = FindArchByHfName((*hf)->architecture());
  EXPECT_NE(spec, nullptr);
  return ModelConfigFromHf(**hf, *spec);
}

// For inputs that may be anything.
void TryText(const std::string& text) {
  auto hf = HfConfig::Parse(text, "config.json");
  if (!hf.ok()) {
    return;
  }
  if (const ArchSpec* spec = FindArchByHfName((*hf)->architecture())) {
    ModelConfigFromHf(**hf, *spec).IgnoreError();
  }
}

std::string Llama(const std::string& more) {
  return absl::StrCat(
      "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\"",
      more, "}");
}

TEST(HfModelConfig, DefaultsOfTheClassFillWhatIsLeftOut) {
  const auto config = FromText(Llama(""));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->n_layers, 32);
  EXPECT_EQ(config->n_kv_heads, 32);
  EXPECT_EQ(config->head_dim, 128);
  EXPECT_EQ(config->vocab_size, 32000);
  EXPECT_EQ(config->rope_theta, 10000);
}

struct Refusal {
  const char* members;
  const char* words;
};

TEST(HfModelConfig, RefusalsNameKeyAndFile) {
  const Refusal kRefusals[] = {
      {R"(, "hidden_size": 0)", "'hidden_size' is 0"},
      {R"(, "hidden_size": -4096)", "'hidden_size' is -4096"},
      {R"(, "hidden_size": 1e300)", "hidden_size"},
      {R"(, "hidden_size": "big")", "hidden_size"},
      {R"(, "hidden_size": 9223372036854775807)", "hidden_size"},
      {R"(, "num_hidden_layers": 1000000000)", "num_hidden_layers"},
      {R"(, "num_attention_heads": 0)", "num_attention_heads"},
      {R"(, "num_key_value_heads": 5)", "num_key_value_heads 5"},
      {R"(, "num_key_value_heads": 0)", "num_key_value_heads 0"},
      {R"(, "head_dim": 127)", "head_dim 127"},
      {R"(, "vocab_size": null)", "vocab_size"},
      {R"(, "rms_norm_eps": NaN)", "rms_norm_eps"},
      {R"(, "rms_norm_eps": -1)", "rms_norm_eps"},
      {R"(, "rope_theta": 0)", "rope_theta"},
      {R"(, "rope_theta": "x")", "rope_theta"},
      {R"(, "rope_theta": 1e39)", "beyond a float32's range"},
      {R"(, "rope_parameters": {"rope_theta": 0})", "rope_theta is 0"},
      {R"(, "rope_parameters": {"rope_theta": -1e39})",
       "-1e+39 is beyond a float32's range; at rope_parameters.rope_theta"},
      {R"(, "rope_scaling": {"type": "linear", "factor": 1e-300})",
       "rotary factor is 1e-300"},
      {R"(, "rope_scaling": {"type": "yarn", "factor": 4, "beta_fast": -1})",
       "beta_fast and beta_slow are -1 and 1"},
      {R"(, "rope_scaling": {"type": "yarn", "factor": 4,
          "attention_factor": -1})",
       "attention_factor is -1"},
      {R"(, "rope_scaling": {"type": "yarn", "factor": 4, "mscale": 1e38,
          "mscale_all_dim": -1e38})",
       "attention_factor is -1"},
      {R"(, "hidden_act": "gelu")", "activation 'gelu'"},
      {R"(, "rope_scaling": {"type": "spiral", "factor": 2})",
       "rope_type 'spiral'"},
      {R"(, "rope_scaling": {"type": "linear"})", "without a factor"},
      {R"(, "rope_scaling": {"type": "linear", "factor": -2})", "factor"},
      {R"(, "rope_scaling": {"type": "linear", "factor": "2"})", "factor"},
      {R"(, "rope_scaling": {"rope_type": "llama3", "factor": 8,
          "low_freq_factor": 0, "high_freq_factor": 4})",
       "low_freq_factor"},
      {R"(, "rope_scaling": {"type": "longrope", "factor": 2})", "longrope"},
      {R"(, "rope_parameters": {"mrope_section": [1, 2]})", "mrope"},
      {R"(, "partial_rotary_factor": 0.5)", "partial_rotary_factor"},
      {R"(, "text_config": 3)", "text_config"},
  };
  for (const Refusal& refusal : kRefusals) {
    const auto config = FromText(Llama(refusal.members));
    ASSERT_FALSE(config.ok()) << refusal.members;
    EXPECT_TRUE(absl::StrContains(config.status().message(), refusal.words))
        << refusal.members << ": " << config.status();
    EXPECT_TRUE(
        absl::StrContains(config.status().message(), "some/config.json"))
        << config.status();
  }
}

TEST(HfModelConfig, DamagedFilesAreRefused) {
  for (const char* text :
       {"", "{", "[]", "3", "{}", R"({"architectures": []})",
        R"({"architectures": [3]})", R"({"architectures": "Llama"})"}) {
    EXPECT_FALSE(HfConfig::Parse(text, "config.json").ok()) << text;
  }
}

TEST(HfModelConfig, LayerTypesMustCoverTheLayers) {
  const std::string gemma = R"({"architectures": ["Gemma3ForCausalLM"],
      "model_type": "gemma3_text", "num_hidden_layers": 3, "layer_types": )";
  EXPECT_FALSE(FromText(gemma + R"(["full_attention"]})").ok());
  EXPECT_EQ(FromText(gemma + R"(["full_attention", "full_attention",
                                 "linear_attention"]})")
                .status()
                .code(),
            absl::StatusCode::kUnimplemented);
  const auto config = FromText(gemma + R"(["full_attention",
      "sliding_attention", "full_attention"]})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layer_is_sliding, (std::vector<bool>{false, true, false}));
  EXPECT_EQ(config->sliding_window, 4096);
}

TEST(HfModelConfig, GemmaScalesItsQueriesByTheConfig) {
  const auto config = FromText(R"({"architectures": ["Gemma2ForCausalLM"],
      "model_type": "gemma2", "query_pre_attn_scalar": 144})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->attention_scale, 1.0f / 12);
  EXPECT_EQ(config->embedding_scale, 48);
  EXPECT_EQ(config->attn_logit_softcap, 50);
}

TEST(HfModelConfig, NumbersOfGemmaThatNothingCanBeComputedWithAreRefused) {
  const Refusal kRefusals[] = {
      {R"("query_pre_attn_scalar": 0)", "query_pre_attn_scalar is 0"},
      {R"("query_pre_attn_scalar": 1e-300)", "query_pre_attn_scalar is 1e-300"},
      {R"("attn_logit_softcapping": -50)", "soft cap of logits is -50"},
      {R"("final_logit_softcapping": -1)", "soft cap of logits is -1"},
      {R"("final_logit_softcapping": 1e300)", "'final_logit_softcapping'"},
  };
  for (const Refusal& refusal : kRefusals) {
    const auto config =
        FromText(absl::StrCat(R"({"architectures": ["Gemma2ForCausalLM"],
            "model_type": "gemma2", )",
                              refusal.members, "}"));
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(config.status().message(), refusal.words))
        << refusal.members << ": " << config.status();
  }
}

// Every value of every golden config.json, replaced by values that no one
// expects, gives a status, good or bad, and no crash.
TEST(HfModelConfig, HostileValuesNeverCrash) {
  const char* const kHostile[] = {"null",
                                  "-1",
                                  "0",
                                  "1e308",
                                  "true",
                                  "\"x\"",
                                  "[]",
                                  "{}",
                                  "[1e99]",
                                  "0.5",
                                  "9223372036854775807",
                                  "65536",
                                  "2"};
  int n_tried = 0;
  for (const char* family : {"gemma3_text", "phi3", "qwen3_moe", "mixtral",
                             "llama3", "gemma2", "qwen2"}) {
    const auto document = JsonDocument::ReadFile(
        absl::StrCat("testdata/configs/", family, ".json"));
    ASSERT_TRUE(document.ok()) << document.status();
    const std::vector<JsonValue> cases =
        *(*document)->root().Get("cases")->GetElements();
    for (const JsonValue& c : cases) {
      const std::string text(*c.Get("files")->Get("config.json")->GetString());
      // A value lies between a ": " or "[" and the next ',' or bracket.
      for (size_t i = 0; i + 2 < text.size(); ++i) {
        if (text.compare(i, 2, ": ") != 0) {
          continue;
        }
        const size_t end = text.find_first_of(",}]", i);
        for (const char* hostile : kHostile) {
          TryText(text.substr(0, i + 2) + hostile + text.substr(end));
          ++n_tried;
        }
      }
    }
  }
  EXPECT_GT(n_tried, 10000);
}

// A GGUF file of the llama family.
FakeSource TinyGguf() {
  FakeSource source("tiny.gguf");
  source.Add("token_embd.weight", QuantType::kF16, {50, 32});
  Metadata* m = source.mutable_metadata();
  m->Set("general.architecture", std::string("llama"));
  m->Set("llama.block_count", uint32_t{2});
  m->Set("llama.embedding_length", uint32_t{32});
  m->Set("llama.feed_forward_length", uint32_t{64});
  m->Set("llama.context_length", uint32_t{128});
  m->Set("llama.attention.head_count", uint32_t{4});
  m->Set("llama.attention.head_count_kv", uint32_t{2});
  m->Set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  m->Set("llama.rope.freq_base", 500000.0f);
  m->Set("llama.rope.dimension_count", uint32_t{8});
  m->Set("llama.expert_count", uint32_t{4});
  m->Set("llama.expert_used_count", uint32_t{2});
  m->Set("llama.attention.sliding_window", uint32_t{16});
  m->Set("llama.attention.sliding_window_pattern", uint32_t{2});
  m->Set("llama.rope.scaling.type", std::string("yarn"));
  m->Set("llama.rope.scaling.factor", 4.0f);
  m->Set("llama.rope.scaling.original_context_length", uint32_t{32});
  m->Set("llama.rope.scaling.yarn_beta_fast", 32.0f);
  return source;
}

TEST(GgufModelConfig, ReadsAllKeys) {
  const FakeSource source = TinyGguf();
  const auto config = ModelConfigFromGguf(source, FindArchByGgufName("llama"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->n_layers, 2);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->n_kv_heads, 2);
  EXPECT_EQ(config->vocab_size, 50);
  EXPECT_EQ(config->expert_ffn_size, 64);
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_EQ(config->layer_is_sliding, (std::vector<bool>{true, false}));
  EXPECT_EQ(config->rope_scaling.kind, RopeScaling::Kind::kYarn);
  EXPECT_EQ(config->rope_scaling.original_context, 32);
}

TEST(GgufModelConfig, UnknownFamiliesGiveWhatIsThere) {
  FakeSource source("x.gguf");
  source.mutable_metadata()->Set("general.architecture",
                                 std::string("mystery"));
  source.mutable_metadata()->Set("mystery.block_count", uint32_t{7});
  source.mutable_metadata()->Set("mystery.attention.head_count",
                                 std::vector<int32_t>{8, 4});
  const auto config = ModelConfigFromGguf(source, nullptr);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->n_layers, 7);
  EXPECT_EQ(config->n_heads, 8);
  EXPECT_EQ(config->hidden_size, 0);
}

TEST(GgufModelConfig, HostileValuesNeverCrash) {
  const MetadataValue kHostile[] = {uint32_t{0},
                                    uint32_t{0xffffffff},
                                    int64_t{-1},
                                    uint64_t{1} << 63,
                                    std::string("x"),
                                    1e38f,
                                    std::nanf(""),
                                    true,
                                    std::vector<int32_t>{},
                                    std::vector<int32_t>{-5, 3},
                                    std::vector<bool>{true},
                                    std::vector<float>{1.5f}};
  const FakeSource whole = TinyGguf();
  for (const char* arch : {"llama", "gemma2", "gemma3", "phi3", "qwen3moe"}) {
    for (const auto& [key, unused] : whole.metadata().entries()) {
      for (const MetadataValue& value : kHostile) {
        FakeSource source("tiny.gguf");
        source.Add("token_embd.weight", QuantType::kF16, {50, 32});
        source.Add("rope_freqs.weight", QuantType::kF32, {3});
        for (const auto& [name, good] : whole.metadata().entries()) {
          source.mutable_metadata()->Set(
              absl::StrReplaceAll(name, {{"llama.", absl::StrCat(arch, ".")}}),
              name == key ? value : good);
        }
        if (key != "general.architecture") {
          source.mutable_metadata()->Set("general.architecture",
                                         std::string(arch));
        }
        ModelConfigFromGguf(source, FindArchByGgufName(arch)).IgnoreError();
        ModelConfigFromGguf(source, nullptr).IgnoreError();
      }
    }
  }
}

TEST(GgufModelConfig, MissingKeysAreNamed) {
  const FakeSource whole = TinyGguf();
  for (const char* key :
       {"llama.block_count", "llama.embedding_length",
        "llama.feed_forward_length", "llama.attention.head_count"}) {
    FakeSource source = TinyGguf();
    source.mutable_metadata()->Erase(key);
    const auto config =
        ModelConfigFromGguf(source, FindArchByGgufName("llama"));
    EXPECT_EQ(config.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(absl::StrContains(config.status().message(), key))
        << config.status();
  }
}

}  // namespace
}  // namespace narrow
