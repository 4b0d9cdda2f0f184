#include "formats/hf/model_name.h"

#include <string>

#include "gtest/gtest.h"

namespace narrow {
namespace {

struct NameCase {
  const char* id;
  int64_t n_parameters;
  const char* organization;
  const char* basename;
  const char* size_label;
  const char* finetune;
  const char* version;
};

// What Metadata.get_model_id_components of gguf-py 0.19.0 gives; "-" is None.
constexpr NameCase kNames[] = {
    {"meta-llama/Llama-3.1-8B-Instruct", 8030261248, "meta-llama", "Llama-3.1",
     "8B", "Instruct", "-"},
    {"Mixtral-8x7B-Instruct-v0.1", 46702792704, "-", "Mixtral", "8x7B",
     "Instruct", "v0.1"},
    {"gemma-3-270m-it", 268098176, "-", "gemma-3", "270M", "it", "-"},
    {"Phi-3-mini-128k-instruct", 3821079552, "-", "Phi-3", "mini",
     "128k-instruct", "-"},
    {"Phi-3-mini-128k-instruct", 0, "-", "Phi-3-mini", "128K", "instruct", "-"},
    {"bloom-7b1", 7100000000, "-", "bloom", "7.1B", "-", "-"},
    {"Qwen3-30B-A3B", 30532122624, "-", "Qwen3", "30B-A3B", "-", "-"},
    {"plain", 0, "-", "-", "-", "-", "-"},
    {"a sentence 7B", 0, "-", "-", "-", "-", "-"},
    {"./model-7B", 7000000000, "-", "model", "7B", "-", "-"},
    {"", 0, "-", "-", "-", "-", "-"},
    {"-", 0, "-", "-", "-", "-", "-"},
};

std::string Text(const std::optional<std::string>& text) {
  return text.value_or("-");
}

TEST(ModelName, PartsAreThoseOfTheConverter) {
  for (const NameCase& c : kNames) {
    SCOPED_TRACE(c.id);
    const ModelName name = ParseModelName(c.id, c.n_parameters);
    EXPECT_EQ(Text(name.organization), c.organization);
    EXPECT_EQ(Text(name.basename), c.basename);
    EXPECT_EQ(Text(name.size_label), c.size_label);
    EXPECT_EQ(Text(name.finetune), c.finetune);
    EXPECT_EQ(Text(name.version), c.version);
  }
}

TEST(ModelName, TitlesKeepAcronymsAndVersions) {
  EXPECT_EQ(TitleOf("llama-3-8b-chat"), "Llama 3 8b Chat");
  EXPECT_EQ(TitleOf("gemma3_text"), "Gemma3_Text");
  EXPECT_EQ(TitleOf("Qwen2.5-GGUF-v0.1 x"), "Qwen2.5 GGUF v0.1 X");
  EXPECT_EQ(TitleOf(" --a--b "), "A B");
  EXPECT_EQ(TitleOf("\xc3\xa9t\xc3\xa9-\xff"), "\xc3\x89t\xc3\xa9 \xff");
  EXPECT_EQ(TitleOf(""), "");
}

TEST(ModelName, CountsHaveTwoDigitsAtLeast) {
  EXPECT_EQ(RoundedCount(8030261248), "8.0B");
  EXPECT_EQ(RoundedCount(268098176), "268M");
  EXPECT_EQ(RoundedCount(1000000), "1000K");
  EXPECT_EQ(RoundedCount(1500000), "1.5M");
  EXPECT_EQ(RoundedCount(999), "1.0K");
  EXPECT_EQ(RoundedCount(100), "0.10K");
  EXPECT_EQ(RoundedCount(2000000000000), "2.0T");
}

}  // namespace
}  // namespace narrow
