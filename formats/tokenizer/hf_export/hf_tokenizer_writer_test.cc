// The files that are written give the ids of the vocabulary they come from;
// converter/hf/hf_export_test.cc shows the same for whole models.

#include "formats/tokenizer/hf_export/hf_tokenizer_writer.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/json/json.h"
#include "formats/tokenizer/hf_export/score_merges.h"
#include "formats/tokenizer/hf_export/sentencepiece_writer.h"
#include "formats/tokenizer/pipeline/token_text.h"
#include "formats/tokenizer/tokenizer.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

void Add(const std::string& text, TokenType type, float score, Vocabulary* v) {
  v->tokens.push_back(text);
  v->types.push_back(type);
  v->scores.push_back(score);
}

// Bytes, a few pieces, and tokens of every type.
Vocabulary Pieces() {
  Vocabulary v;
  v.kind = VocabularyKind::kLlama;
  v.pre = "default";
  Add("<unk>", TokenType::kUnknown, 0, &v);
  Add("<s>", TokenType::kControl, 0, &v);
  Add("</s>", TokenType::kControl, 0, &v);
  for (int b = 0; b < 256; ++b) {
    Add(ByteToken(static_cast<uint8_t>(b)), TokenType::kByte, 0, &v);
  }
  float score = 0;
  for (const char* text : {"ab", "▁a", "▁ab", "bc", "abc", "▁▁", "▁", "a", "b",
                           "c", "é", "東京", "東", "京"}) {
    Add(text, TokenType::kNormal, --score, &v);
  }
  Add("<mark>", TokenType::kUserDefined, -1000, &v);
  Add("<|end|>", TokenType::kControl, -1000, &v);
  Add(absl::StrCat("[PAD", v.tokens.size(), "]"), TokenType::kUnused, -10000,
      &v);
  v.special_ids = {{"bos", 1}, {"eos", 2}, {"unk", 0}};
  v.add_special = {{"bos", true}, {"eos", false}};
  return v;
}

const char* const kTexts[] = {"",
                              "abc",
                              "ab c abc",
                              "  a b",
                              " abc  ",
                              "é東京",
                              "x<mark> abc",
                              "abc</s>abc <|end|>",
                              "\n\tzz\xF0\x9F\x98\x80",
                              "<0x0A> ▁ab aabbcc bcbc",
                              "<|end|>",
                              "[PAD276]"};

void ExpectSameIds(const Vocabulary& v) {
  const auto files = WriteHfTokenizer(v, {512});
  ASSERT_TRUE(files.ok()) << files.status();
  const auto ours = Tokenizer::FromTokenizerJson(files->tokenizer, "written");
  ASSERT_TRUE(ours.ok()) << ours.status();
  const auto theirs = Tokenizer::Create(v);
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  for (const char* text : kTexts) {
    EXPECT_EQ((*ours)->Encode(text), (*theirs)->Encode(text)) << text;
  }
}

TEST(HfTokenizerWriter, GivesTheIdsOfScores) {
  Vocabulary v = Pieces();
  ExpectSameIds(v);
  v.add_space_prefix = false;
  ExpectSameIds(v);
  v.add_special = {{"bos", false}, {"eos", true}};
  ExpectSameIds(v);
}

TEST(HfTokenizerWriter, SpmFileHoldsPiecesTypesAndScores) {
  const Vocabulary v = Pieces();
  const auto files = WriteHfTokenizer(v, {});
  const auto pieces = ParseSentencePieceModel(files->sentencepiece, "written");
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  ASSERT_EQ(pieces->size(), v.tokens.size() - 1);  // without padding
  for (size_t i = 0; i < pieces->size(); ++i) {
    EXPECT_EQ((*pieces)[i].text, v.tokens[i]);
    EXPECT_EQ((*pieces)[i].score, v.scores[i]);
    EXPECT_EQ(static_cast<int>((*pieces)[i].type),
              static_cast<int>(v.types[i]));
  }
}

// By score, then by id; cuts of one token by the longer left part, and
// user-defined tokens before all.
TEST(HfTokenizerWriter, OrdersMergesOfScores) {
  Vocabulary v;
  v.kind = VocabularyKind::kLlama;
  Add("a", TokenType::kNormal, -9, &v);
  Add("aa", TokenType::kNormal, -2, &v);
  Add("aaa", TokenType::kNormal, -1, &v);
  Add("b", TokenType::kNormal, -9, &v);
  Add("ab", TokenType::kUserDefined, -1000, &v);
  Add("ba", TokenType::kNormal, -2, &v);
  const ScoreMerges found = MergesFromScores(v, v.tokens);
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"a", "b"}, {"aa", "a"}, {"a", "aa"}, {"a", "a"}, {"b", "a"}};
  EXPECT_EQ(found.merges, expected);
  EXPECT_TRUE(found.has_ties);
  v.scores[5] = -3;
  EXPECT_FALSE(MergesFromScores(v, v.tokens).has_ties);
}

Vocabulary Bytes(const std::string& pre) {
  Vocabulary v;
  v.pre = pre;
  for (const char* text : {"a", "b", "c", "Ġ", "ab", "Ġa", "<s>", "."}) {
    v.tokens.push_back(text);
    v.types.push_back(TokenType::kNormal);
  }
  v.types[6] = TokenType::kControl;
  v.merges = {"a b", "Ġ a"};
  v.special_ids = {{"bos", 6}, {"eos", 6}};
  return v;
}

TEST(HfTokenizerWriter, PipelinesFollowFromNames) {
  for (const char* pre : {"llama-bpe", "qwen2", "gpt-2", "default", "tekken",
                          "falcon", "deepseek-v3", "superbpe"}) {
    const Vocabulary v = Bytes(pre);
    const auto files = WriteHfTokenizer(v, {});
    ASSERT_TRUE(files.ok()) << files.status();
    const auto ours = Tokenizer::FromTokenizerJson(files->tokenizer, pre);
    ASSERT_TRUE(ours.ok()) << ours.status();
    const auto theirs = Tokenizer::Create(v);
    for (const char* text : {"ab ab", "a<s> abc.", "abab ab  c"}) {
      EXPECT_EQ((*ours)->Encode(text), (*theirs)->Encode(text))
          << pre << ": " << text;
    }
    EXPECT_TRUE(files->sentencepiece.empty());
  }
}

TEST(HfTokenizerWriter, WritesTemplatesAndSpecialTokens) {
  Vocabulary v = Bytes("gpt-2");
  v.chat_templates = {{"", "{{ messages }}\n\"quoted\""}};
  v.add_special = {{"bos", true}};
  auto files = WriteHfTokenizer(v, {512});
  auto json = JsonDocument::Parse(files->tokenizer_config, "");
  EXPECT_EQ(*(*json)->root().Find("chat_template")->GetString(),
            "{{ messages }}\n\"quoted\"");
  EXPECT_EQ(*(*json)->root().Find("bos_token")->GetString(), "<s>");
  EXPECT_EQ(*(*json)->root().Find("model_max_length")->GetInteger(), 512);
  EXPECT_TRUE(*(*json)->root().Find("add_bos_token")->GetBool());
  v.chat_templates = {{"tools", "t"}, {"default", "d"}};
  v.chat_templates_are_list = true;
  files = WriteHfTokenizer(v, {});
  json = JsonDocument::Parse(files->tokenizer_config, "");
  const auto list = (*json)->root().Find("chat_template")->GetElements();
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ(*(*list)[0].Find("name")->GetString(), "tools");
}

TEST(HfTokenizerWriter, RefusesWhatItCannotSpell) {
  Vocabulary no_token = Bytes("gpt-2");
  no_token.merges.push_back("b c");
  Vocabulary no_space = Bytes("gpt-2");
  no_space.merges.push_back("bc");
  Vocabulary bad_text = Bytes("gpt-2");
  bad_text.tokens[0] = "\xff";
  const struct {
    absl::Status status;
    absl::StatusCode code;
    const char* word;
  } kRefusals[] = {
      {WriteHfTokenizer(Bytes("nobody-knows"), {}).status(),
       absl::StatusCode::kUnimplemented, "nobody-knows"},
      {WriteHfTokenizer(no_token, {}).status(), absl::StatusCode::kDataLoss,
       "'b c'"},
      {WriteHfTokenizer(no_space, {}).status(), absl::StatusCode::kDataLoss,
       "no space"},
      {WriteHfTokenizer(bad_text, {}).status(), absl::StatusCode::kDataLoss,
       "token 0"},
  };
  for (const auto& row : kRefusals) {
    EXPECT_EQ(row.status.code(), row.code) << row.status;
    EXPECT_TRUE(absl::StrContains(row.status.message(), row.word))
        << row.status;
  }
}

}  // namespace
}  // namespace narrow
