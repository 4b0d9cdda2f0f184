#include "formats/tokenizer/tokenizer.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/base/file.h"
#include "formats/json/json.h"
#include "formats/tokenizer/vocabulary.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr char kFolder[] = "testdata/tokenizers";

std::string Read(const std::string& name) {
  auto text = ReadTextFile(JoinPath(kFolder, name), 1 << 24);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

std::unique_ptr<const JsonDocument> ReadJson(const std::string& name) {
  auto document = JsonDocument::ReadFile(JoinPath(kFolder, name));
  EXPECT_TRUE(document.ok()) << document.status();
  return *std::move(document);
}

std::vector<JsonValue> Elements(const JsonValue& json) {
  auto elements = json.GetElements();
  EXPECT_TRUE(elements.ok()) << elements.status();
  return elements.ok() ? *std::move(elements) : std::vector<JsonValue>();
}

std::vector<std::string> Strings(const JsonValue& json, absl::string_view key) {
  std::vector<std::string> out;
  for (const JsonValue& value : Elements(*json.Get(key))) {
    out.emplace_back(*value.GetString());
  }
  return out;
}

std::vector<std::vector<int32_t>> Ids(const JsonValue& json) {
  std::vector<std::vector<int32_t>> out;
  for (const JsonValue& row : Elements(*json.Get("ids"))) {
    out.emplace_back();
    for (const JsonValue& id : Elements(row)) {
      out.back().push_back(static_cast<int32_t>(*id.GetInteger()));
    }
  }
  return out;
}

std::string ByteLevelJson(const std::string& pre_tokenizer) {
  return absl::StrReplaceAll(Read("byte_level.json"),
                             {{"\"PRE\"", pre_tokenizer}});
}

void ExpectOutcome(const Tokenizer& tokenizer, const JsonValue& json,
                   const std::vector<std::string>& texts,
                   const std::string& what) {
  const auto ids = Ids(json);
  const auto decoded = Strings(json, "decoded");
  ASSERT_EQ(ids.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(tokenizer.Encode(texts[i]), ids[i]) << what << ": " << texts[i];
    EXPECT_EQ(tokenizer.Decode(ids[i]), decoded[i]) << what;
  }
}

TEST(TokenizerTest, PipelinesGiveThePublishedIds) {
  const auto document = ReadJson("pipelines.json");
  const auto texts = Strings(document->root(), "texts");
  int n_cases = 0;
  for (const JsonValue& row : Elements(*document->root().Get("cases"))) {
    const std::string name(*row.Get("name")->GetString());
    const std::string section(*row.Get("pre_tokenizer")->GetString());
    const auto tokenizer =
        Tokenizer::FromTokenizerJson(ByteLevelJson(section), name);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    ExpectOutcome(**tokenizer, row, texts, name);
    ++n_cases;
  }
  EXPECT_GT(n_cases, 20);
}

TEST(TokenizerTest, SentencePieceStyleGivesThePublishedIds) {
  for (const std::string name : {"gemma", "llama"}) {
    const auto tokenizer = Tokenizer::FromHfDirectory(JoinPath(kFolder, name));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    const auto document = ReadJson(name + "/expected.json");
    ExpectOutcome(**tokenizer, document->root(),
                  Strings(document->root(), "texts"), name);
  }
}

// Through a vocabulary, its metadata, and llama.cpp's reading of them.
TEST(TokenizerTest, SentencePieceModelGivesItsIds) {
  const std::string folder = JoinPath(kFolder, "sentencepiece");
  const auto from_model = Tokenizer::FromHfDirectory(folder);
  ASSERT_TRUE(from_model.ok()) << from_model.status();
  const auto vocabulary = VocabularyFromHfDirectory(folder);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  Metadata metadata;
  AddTokenizerMetadata(*vocabulary, &metadata);
  const auto from_gguf = Tokenizer::FromGguf(metadata);
  ASSERT_TRUE(from_gguf.ok()) << from_gguf.status();
  const auto document = ReadJson("sentencepiece/expected.json");
  const auto texts = Strings(document->root(), "texts");
  const auto ids = Ids(document->root());
  // The library does not look for control tokens in a text.
  EncodeOptions options;
  options.parse_special = false;
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ((*from_model)->Encode(texts[i], options), ids[i]) << texts[i];
    EXPECT_EQ((*from_gguf)->Encode(texts[i], options), ids[i]) << texts[i];
    if (absl::StrContains(texts[i], "\u2581")) continue;  // read as a space
    EXPECT_EQ((*from_gguf)->Decode(ids[i]), texts[i]);
  }
}

TEST(TokenizerTest, GgufGivesTheIdsOfTheFolder) {
  VocabularyOptions options;
  options.architecture = "Gemma3ForCausalLM";
  const std::string folder = JoinPath(kFolder, "gemma");
  const auto vocabulary = VocabularyFromHfDirectory(folder, options);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  const auto tokenizer = Tokenizer::Create(*vocabulary);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto folder_tokenizer = Tokenizer::FromHfDirectory(folder);
  const auto document = ReadJson("gemma/expected.json");
  EncodeOptions plain;
  plain.add_special = false;
  for (const std::string& text : Strings(document->root(), "texts")) {
    // White space around <tool> is a flag that GGUF files do not carry.
    if (absl::StrContains(text, "<tool>")) continue;
    EXPECT_EQ((*tokenizer)->Encode(text, plain),
              (*folder_tokenizer)->Encode(text, plain))
        << text;
  }
}

TEST(TokenizerTest, SpecialTokensInTextAreReadOnRequest) {
  const auto tokenizer = Tokenizer::FromTokenizerJson(
      ByteLevelJson(R"({"type":"ByteLevel","add_prefix_space":false})"), "x");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EncodeOptions options;
  EXPECT_EQ((*tokenizer)->Encode("<|eos|>"), std::vector<int32_t>({0, 1}));
  options.add_special = false;
  EXPECT_EQ((*tokenizer)->Encode("<|eos|>", options),
            std::vector<int32_t>({1}));
  options.parse_special = false;
  const auto ids = (*tokenizer)->Encode("<|eos|>", options);
  EXPECT_GT(ids.size(), 1u);
  EXPECT_EQ((*tokenizer)->Decode(ids), "<|eos|>");
}

TEST(TokenizerTest, BytesThatAreNotUtf8AreReplaced) {
  const auto tokenizer = Tokenizer::FromTokenizerJson(
      ByteLevelJson(R"({"type":"ByteLevel","add_prefix_space":false})"), "x");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  for (const std::string bad : {"a\xff", "\xe2\x82", "\xc0\x80", "\xf5xyz",
                                "\xed\xa0\x80", "\x80\x80"}) {
    const std::string text = (*tokenizer)->Decode((*tokenizer)->Encode(bad));
    EXPECT_TRUE(absl::StrContains(text, "\xef\xbf\xbd")) << text;
  }
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string noise;
    for (int n = static_cast<int>(random() % 40); n > 0; --n) {
      noise.push_back(static_cast<char>(random()));
    }
    const auto ids = (*tokenizer)->Encode(noise);
    EXPECT_EQ((*tokenizer)->Encode((*tokenizer)->Decode(ids)), ids);
  }
}

struct Damage {
  const char* from;
  const char* to;
  const char* words;
};

TEST(TokenizerTest, RefusesDamagedFilesByField) {
  const std::string good =
      ByteLevelJson(R"({"type":"ByteLevel","add_prefix_space":false})");
  ASSERT_TRUE(Tokenizer::FromTokenizerJson(good, "good").ok());
  for (const Damage& damage : {
           Damage{"\"vocab\":", "\"vocabulary\":", "vocab"},
           Damage{"\"merges\":", "\"merge\":", "merges"},
           Damage{"\"!\":2", "\"!\":3", "same id"},
           Damage{"\"!\":2", "\"!\":4000000000", "out of range"},
           Damage{"\"!\":2", "\"!\":-1", "out of range"},
           Damage{"\"!\":2", "\"!\":\"2\"", "model.vocab"},
           Damage{"\"!\":2", "\"\\\"\":2", "twice"},
           Damage{"[\"Ġ\",\"t\"]", "[\"Ġ\",\"tqx\"]", "not in the vocabulary"},
           Damage{"[\"Ġ\",\"t\"]", "[\"Ġ\"]", "pair"},
           Damage{"[\"Ġ\",\"t\"]", "\"Ġ  t\"", "two tokens"},
           Damage{"[\"Ġ\",\"t\"]", "7", "model.merges"},
           Damage{"\"type\":\"BPE\"", "\"type\":\"Unigram\"", "Unigram"},
           Damage{"\"dropout\":null", "\"dropout\":0.1", "dropout"},
           Damage{"\"end_of_word_suffix\":null",
                  "\"end_of_word_suffix\":\"</w>\"", "end_of_word_suffix"},
           Damage{"\"unk_token\":null", "\"unk_token\":\"<nope>\"",
                  "unk_token"},
           Damage{"\"normalizer\":null",
                  "\"normalizer\":{\"type\":\"Precompiled\"}", "Precompiled"},
           Damage{"{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
                  "{\"type\":\"UnicodeScripts\"}", "UnicodeScripts"},
           Damage{"\"decoder\":{\"type\":\"ByteLevel\"",
                  "\"decoder\":{\"type\":\"CTC\"", "CTC"},
           Damage{"\"ids\":[0]", "\"ids\":[99999]", "out of range"},
           Damage{"\"id\":1,\"content\"", "\"id\":5,\"content\"", "added"},
       }) {
    const std::string bad =
        absl::StrReplaceAll(good, {{damage.from, damage.to}});
    ASSERT_NE(bad, good) << damage.from;
    const auto tokenizer = Tokenizer::FromTokenizerJson(bad, "bad.json");
    ASSERT_FALSE(tokenizer.ok()) << damage.to;
    EXPECT_TRUE(absl::StrContains(tokenizer.status().message(), damage.words))
        << tokenizer.status();
    EXPECT_TRUE(absl::StrContains(tokenizer.status().message(), "bad.json"))
        << tokenizer.status();
  }
}

// Whatever a flipped byte makes of the file, it is read or refused.
TEST(TokenizerTest, SurvivesFlippedBytes) {
  const std::string good = Read("llama/tokenizer.json");
  std::mt19937 random(2);
  for (int i = 0; i < 600; ++i) {
    std::string bad = good;
    // Half of them before the vocabulary, where the structure is.
    const size_t range = i % 2 == 0 ? 1500 : bad.size();
    bad[random() % range] ^= static_cast<char>(1 << (random() % 8));
    const auto tokenizer = Tokenizer::FromTokenizerJson(bad, "flipped");
    if (tokenizer.ok()) (*tokenizer)->Encode("some text <s> \n with é");
  }
  for (size_t n = 0; n < good.size(); n += 97) {
    EXPECT_FALSE(Tokenizer::FromTokenizerJson(good.substr(0, n), "cut").ok());
  }
}

}  // namespace
}  // namespace narrow
