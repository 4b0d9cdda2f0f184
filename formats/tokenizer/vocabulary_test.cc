#include "formats/tokenizer/vocabulary.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/base/file.h"
#include "formats/json/json.h"
#include "formats/tokenizer/sentencepiece_model.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr char kData[] = "testdata/tokenizers";

std::string Read(const std::string& name) {
  auto text = ReadTextFile(JoinPath(kData, name), 1 << 24);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

// A checkpoint folder of the given files.
std::string MakeFolder(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& files) {
  const std::string folder = JoinPath(testing::TempDir(), name);
  for (const auto& [file, text] : files) {
    EXPECT_TRUE(WriteTextFile(JoinPath(folder, file), text).ok());
  }
  return folder;
}

std::vector<std::string> KeysOf(const Vocabulary& v) {
  Metadata metadata;
  AddTokenizerMetadata(v, &metadata);
  std::vector<std::string> keys;
  for (const auto& entry : metadata.entries()) {
    keys.push_back(entry.first.substr(std::string("tokenizer.").size()));
  }
  return keys;
}

std::string Config(const std::string& architecture, int64_t n_vocab) {
  return absl::StrCat(R"({"architectures":[")", architecture,
                      R"("],"vocab_size":)", n_vocab, "}");
}

std::string ByteLevelJson(const std::string& pre_tokenizer) {
  return absl::StrReplaceAll(Read("byte_level.json"),
                             {{"\"PRE\"", pre_tokenizer}});
}

constexpr char kQwen2[] =
    R"re({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated"},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})re";

std::string SentencePieceFolder() {
  return MakeFolder("sp",
                    {{"tokenizer.model", Read("sentencepiece/tokenizer.model")},
                     {"config.json", Config("LlamaForCausalLM", 904)},
                     {"added_tokens.json", R"({"<a>":900,"<b>":9000})"},
                     {"tokenizer_config.json",
                      R"({"bos_token":{"content":"<s>"},"eos_token":"</s>",
                  "add_bos_token":true,"add_prefix_space":false,
                  "added_tokens_decoder":{
                    "1":{"content":"<s>","special":true},
                    "901":{"content":"▁▁tool","special":false},
                    "902":{"content":"<|x|>","special":false}},
                  "chat_template":"hello"})"}});
}

std::string QwenFolder() {
  return MakeFolder("bl", {{"tokenizer.json", ByteLevelJson(kQwen2)},
                           {"config.json", Config("Qwen3ForCausalLM", 605)},
                           {"tokenizer_config.json",
                            R"({"eos_token":"<|eos|>","pad_token":"<pad>",
                  "add_eos_token":true,"chat_template":[
                    {"name":"tool use","template":"t"},
                    {"name":"default","template":"d"}]})"}});
}

// Keys, order and values below are those that convert_hf_to_gguf.py of
// llama.cpp build b11549 writes for these folders.
TEST(VocabularyTest, SentencePieceFolderOfTheLlamaFamily) {
  const std::string folder = SentencePieceFolder();
  const auto v = VocabularyFromHfDirectory(folder);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(KeysOf(*v), std::vector<std::string>(
                            {"ggml.add_space_prefix", "ggml.model", "ggml.pre",
                             "ggml.tokens", "ggml.scores", "ggml.token_type",
                             "ggml.add_bos_token", "chat_template"}));
  ASSERT_EQ(v->tokens.size(), 904u);
  EXPECT_EQ(v->types[0], TokenType::kUnknown);
  EXPECT_EQ(v->types[1], TokenType::kControl);
  EXPECT_EQ(v->scores[1], -1000.0f);
  EXPECT_EQ(v->types[3], TokenType::kByte);
  EXPECT_EQ(v->tokens[900], "<a>");
  EXPECT_EQ(v->types[900], TokenType::kUserDefined);
  EXPECT_EQ(v->tokens[901], "  tool");
  EXPECT_EQ(v->types[901], TokenType::kUserDefined);
  EXPECT_EQ(v->types[902], TokenType::kControl);
  EXPECT_EQ(v->tokens[903], "[PAD903]");
  EXPECT_EQ(v->types[903], TokenType::kUnused);
  EXPECT_EQ(v->scores[903], -10000.0f);
}

TEST(VocabularyTest, ByteLevelFolder) {
  const std::string folder = QwenFolder();
  const auto v = VocabularyFromHfDirectory(folder);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->pre, "qwen2");
  EXPECT_EQ(KeysOf(*v),
            std::vector<std::string>(
                {"ggml.model", "ggml.pre", "ggml.tokens", "ggml.token_type",
                 "ggml.merges", "ggml.bos_token_id", "ggml.eos_token_id",
                 "ggml.add_bos_token", "ggml.add_eos_token",
                 "chat_template.tool_use", "chat_templates", "chat_template"}));
  EXPECT_EQ(v->SpecialId("bos"), 0);  // by the template
  EXPECT_EQ(v->SpecialId("eos"), 1);
  EXPECT_EQ(v->AddsSpecial("bos"), true);
  // A token that only tokenizer_config.json names comes after the others.
  EXPECT_EQ(v->tokens[600], "<pad>");
  EXPECT_EQ(v->types[600], TokenType::kControl);
  EXPECT_EQ(v->tokens[604], "[PAD604]");
}

TEST(VocabularyTest, MetadataReadBackGivesTheSameMetadata) {
  for (const std::string& folder : {SentencePieceFolder(), QwenFolder()}) {
    const auto v = VocabularyFromHfDirectory(folder);
    ASSERT_TRUE(v.ok()) << v.status();
    Metadata first, second;
    AddTokenizerMetadata(*v, &first);
    auto again = VocabularyFromGguf(first);
    ASSERT_TRUE(again.ok()) << again.status();
    again->space_prefix_first = v->space_prefix_first;
    AddTokenizerMetadata(*again, &second);
    EXPECT_EQ(first.entries(), second.entries());
  }
}

TEST(VocabularyTest, PreNameFollowsFromThePipeline) {
  const auto document =
      JsonDocument::ReadFile(JoinPath(kData, "pipelines.json"));
  ASSERT_TRUE(document.ok()) << document.status();
  int n_named = 0;
  const auto cases = (*document)->root().Get("cases")->GetElements();
  for (const JsonValue& row : *cases) {
    const std::string section(*row.Get("pre_tokenizer")->GetString());
    const std::string name(*row.Get("pre")->GetString());
    const std::string folder =
        MakeFolder("pre", {{"tokenizer.json", ByteLevelJson(section)},
                           {"config.json", Config("LlamaForCausalLM", 600)}});
    auto v = VocabularyFromHfDirectory(folder);
    if (!name.empty()) {
      ASSERT_TRUE(v.ok()) << v.status();
      EXPECT_EQ(v->pre, name);
      ++n_named;
      continue;
    }
    EXPECT_EQ(v.status().code(), absl::StatusCode::kUnimplemented) << section;
    EXPECT_TRUE(absl::StrContains(v.status().message(), "pipeline"))
        << v.status();
    VocabularyOptions options;
    options.pre = "qwen2";
    v = VocabularyFromHfDirectory(folder, options);
    ASSERT_TRUE(v.ok()) << v.status();
    EXPECT_EQ(v->pre, "qwen2");
    options.pre = "nonsense";
    EXPECT_EQ(VocabularyFromHfDirectory(folder, options).status().code(),
              absl::StatusCode::kNotFound);
  }
  EXPECT_GT(n_named, 10);
}

TEST(VocabularyTest, MergesSpellSpacesInTokens) {
  std::string json = ByteLevelJson(kQwen2);
  json = absl::StrReplaceAll(
      json, {{"\"vocab\":{", "\"vocab\":{\"a b\":600,\"a \":601,"},
             {"\"merges\":[", "\"merges\":[[\"a \",\"b\"],"}});
  const std::string folder =
      MakeFolder("spaces", {{"tokenizer.json", json},
                            {"config.json", Config("Qwen2ForCausalLM", 602)}});
  const auto v = VocabularyFromHfDirectory(folder);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->merges[0], "aĠ b");
}

TEST(VocabularyTest, RefusesFoldersItCannotRead) {
  const std::string json = ByteLevelJson(kQwen2);
  const auto refuse = [&](const std::string& name, const std::string& config,
                          absl::StatusCode code, absl::string_view words) {
    const auto v = VocabularyFromHfDirectory(
        MakeFolder(name, {{"tokenizer.json", json}, {"config.json", config}}));
    EXPECT_EQ(v.status().code(), code) << v.status();
    EXPECT_TRUE(absl::StrContains(v.status().message(), words)) << v.status();
  };
  refuse("arch", Config("BertModel", 600), absl::StatusCode::kUnimplemented,
         "Qwen2ForCausalLM");
  refuse("small", Config("Qwen2ForCausalLM", 100),
         absl::StatusCode::kInvalidArgument, "vocab_size 100");
  refuse("huge", Config("Qwen2ForCausalLM", int64_t{1} << 60),
         absl::StatusCode::kDataLoss, "vocab_size");
  refuse("wrong", R"({"architectures":"Qwen2ForCausalLM"})",
         absl::StatusCode::kDataLoss, "architectures");
  const auto unread = VocabularyFromHfDirectory(MakeFolder(
      "unread", {{"tokenizer.model", "pieces"},
                 {"config.json", Config("Qwen3MoeForCausalLM", 9)}}));
  EXPECT_TRUE(absl::StrContains(unread.status().message(),
                                "tokenizer.model is not read"))
      << unread.status();
  EXPECT_EQ(
      VocabularyFromHfDirectory(testing::TempDir() + "/none").status().code(),
      absl::StatusCode::kNotFound);
}

TEST(VocabularyTest, RefusesGgufKeysThatDisagree) {
  Vocabulary v;
  v.kind = VocabularyKind::kLlama;
  v.pre = "default";
  v.tokens = {"<unk>", "<s>", "a"};
  v.types = {TokenType::kUnknown, TokenType::kControl, TokenType::kNormal};
  v.scores = {0, 0, -1};
  Metadata good;
  AddTokenizerMetadata(v, &good);
  ASSERT_TRUE(VocabularyFromGguf(good).ok());
  const auto refuse = [&](absl::string_view key, MetadataValue value) {
    Metadata bad = good;
    bad.Set(key, std::move(value));
    const auto read = VocabularyFromGguf(bad);
    EXPECT_FALSE(read.ok()) << key;
    if (!read.ok() && read.status().code() == absl::StatusCode::kDataLoss) {
      EXPECT_TRUE(absl::StrContains(read.status().message(), key));
    }
  };
  refuse("tokenizer.ggml.model", std::string("bert"));
  refuse("tokenizer.ggml.tokens", std::vector<std::string>());
  refuse("tokenizer.ggml.tokens", std::vector<std::string>({"a", "a", "b"}));
  refuse("tokenizer.ggml.tokens", uint32_t{3});
  refuse("tokenizer.ggml.scores", std::vector<float>({1}));
  refuse("tokenizer.ggml.token_type", std::vector<int32_t>({1, 1}));
  refuse("tokenizer.ggml.token_type", std::vector<int32_t>({1, 1, 77}));
  refuse("tokenizer.ggml.bos_token_id", uint32_t{3});
  refuse("tokenizer.ggml.bos_token_id", std::string("1"));
  refuse("tokenizer.ggml.add_bos_token", uint32_t{1});
}

TEST(SentencePieceModelTest, RefusesTruncationAndOtherTypes) {
  const std::string good = Read("sentencepiece/tokenizer.model");
  ASSERT_TRUE(ParseSentencePieceModel(good, "x").ok());
  for (size_t n = 0; n < good.size(); n += 7) {
    const auto read = ParseSentencePieceModel(good.substr(0, n), "cut");
    EXPECT_FALSE(read.ok()) << n;
  }
  for (size_t i = 0; i < good.size(); i += 3) {
    std::string bad = good;
    bad[i] = static_cast<char>(~bad[i]);
    const auto read = ParseSentencePieceModel(bad, "flipped");
    EXPECT_TRUE(!read.ok() || !read->empty());
  }
  // One piece "a", and no trainer_spec: the format's default is unigram.
  const auto unigram = ParseSentencePieceModel(
      absl::string_view("\x0a\x03\x0a\x01\x61", 5), "u");
  EXPECT_EQ(unigram.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(absl::StrContains(unigram.status().message(), "unigram"));
}

}  // namespace
}  // namespace narrow
