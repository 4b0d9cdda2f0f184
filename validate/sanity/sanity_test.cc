// A model against copies of it that went wrong in one way each.

#include "validate/sanity/sanity.h"

#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "formats/gguf/gguf_writer.h"
#include "formats/json/json.h"
#include "gtest/gtest.h"
#include "validate/sanity/fixed_texts.h"

namespace narrow {
namespace {

struct Copy {
  Metadata metadata;
  std::vector<TensorMeta> metas;
  std::vector<std::vector<uint8_t>> bytes;
};

class SanityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    original_ = Checkpoint::Open("testdata/tiny-llama", {}).value();
    copy_.metadata = original_->metadata();
    for (const CheckpointTensor& tensor : original_->tensors()) {
      TensorMeta meta = tensor.meta;
      meta.type = tensor.stored;
      std::vector<uint8_t> bytes;
      for (int64_t r = 0; r < meta.n_rows(); ++r) {
        const auto row = original_->RowBytes(tensor, r);
        bytes.insert(bytes.end(), row.begin(), row.end());
      }
      copy_.metas.push_back(meta);
      copy_.bytes.push_back(bytes);
    }
  }

  size_t IndexOf(const std::string& name) const {
    for (size_t i = 0; i < copy_.metas.size(); ++i) {
      if (copy_.metas[i].name == name) {
        return i;
      }
    }
    ADD_FAILURE() << name;
    return 0;
  }

  SanityReport Check() {
    const std::string path = JoinPath(::testing::TempDir(), "sanity.gguf");
    const auto sink = NewGgufWriter(path);
    EXPECT_TRUE(sink->Begin(copy_.metas, copy_.metadata).ok());
    for (const auto& bytes : copy_.bytes) {
      EXPECT_TRUE(sink->Append(bytes).ok());
    }
    EXPECT_TRUE(sink->Finish().ok());
    const auto candidate = Checkpoint::Open(path, {});
    EXPECT_TRUE(candidate.ok()) << candidate.status();
    const auto report = CheckSanity(*original_, **candidate, options_);
    EXPECT_TRUE(report.ok()) << report.status();
    return *report;
  }

  // That there is an error with these words.
  void ExpectError(const SanityReport& report, const std::string& words) {
    EXPECT_FALSE(report.ok());
    EXPECT_TRUE(absl::StrContains(RenderSanity(report), words))
        << RenderSanity(report);
    JsonWriter json(JsonWriter::kCompact);
    json.BeginObject();
    AddSanityJson(report, &json);
    json.EndObject();
    EXPECT_TRUE(absl::StrContains(json.text(), "\"ok\":false"));
  }

  std::unique_ptr<Checkpoint> original_;
  Copy copy_;
  SanityOptions options_;
};

TEST_F(SanityTest, ACopyIsSane) {
  const SanityReport report = Check();
  EXPECT_TRUE(report.ok()) << RenderSanity(report);
  EXPECT_TRUE(report.findings.empty()) << RenderSanity(report);
  EXPECT_EQ(report.n_tensors, static_cast<int64_t>(copy_.metas.size()));
  EXPECT_GT(report.n_text_ids, 500);
}

TEST_F(SanityTest, WeightsThatAreNotFiniteAreFoundByPlace) {
  const size_t at = IndexOf("output_norm.weight");
  ASSERT_EQ(copy_.metas[at].type, QuantType::kBF16);
  // Infinity as BF16, in column 5.
  copy_.bytes[at][10] = 0x80;
  copy_.bytes[at][11] = 0x7f;
  ExpectError(Check(),
              "'output_norm.weight' has a weight that is not finite, at row "
              "0, column 5");
}

TEST_F(SanityTest, TensorsThatAreMissingOrZeroAreNamed) {
  const size_t zero = IndexOf("blk.0.attn_q.weight");
  std::fill(copy_.bytes[zero].begin(), copy_.bytes[zero].end(), uint8_t{0});
  ExpectError(Check(), "'blk.0.attn_q.weight' is all zero");
  const size_t at = IndexOf("blk.1.ffn_up.weight");
  copy_.metas.erase(copy_.metas.begin() + static_cast<ptrdiff_t>(at));
  copy_.bytes.erase(copy_.bytes.begin() + static_cast<ptrdiff_t>(at));
  ExpectError(Check(), "'blk.1.ffn_up.weight' is missing");
}

TEST_F(SanityTest, ALayerLeftUnquantizedIsNamed) {
  // All layers' but one as blocks of zeros with a scale: Q8_0 of 32 weights.
  std::string left;
  for (size_t i = 0; i < copy_.metas.size(); ++i) {
    TensorMeta& meta = copy_.metas[i];
    if (!absl::StrContains(meta.name, "ffn_up.weight")) {
      continue;
    }
    if (left.empty()) {
      left = meta.name;
      continue;
    }
    meta.type = QuantType::kQ8_0;
    copy_.bytes[i].assign(static_cast<size_t>(meta.n_bytes()), 1);
  }
  const SanityReport report = Check();
  EXPECT_TRUE(
      absl::StrContains(RenderSanity(report), "'" + left + "' is left as bf16"))
      << RenderSanity(report);
}

// What was asked for decides where it is known: an error of a recipe's, a
// warning where a file type alone is known, and nothing that was to stay.
TEST_F(SanityTest, WhatIsLeftUnquantizedIsJudgedByWhatWasAsked) {
  for (size_t i = 0; i < copy_.metas.size(); ++i) {
    if (absl::StrContains(copy_.metas[i].name, "ffn_up.weight")) {
      copy_.metas[i].type = QuantType::kQ8_0;
      copy_.bytes[i].assign(static_cast<size_t>(copy_.metas[i].n_bytes()), 1);
    }
  }
  ExpectedTypes expected;
  expected.source = "its manifest's recipe";
  expected.is_recipe = true;
  options_.expected = &expected;
  const auto rendered = [&] { return RenderSanity(Check()); };
  EXPECT_FALSE(absl::StrContains(rendered(), "tensors:")) << rendered();
  expected.types["blk.0.ffn_up.weight"] = "q8_0";
  EXPECT_FALSE(absl::StrContains(rendered(), "tensors:")) << rendered();
  expected.types["blk.0.ffn_up.weight"] = "q4_k";
  EXPECT_TRUE(absl::StrContains(
      rendered(),
      "note: tensors: 'blk.0.ffn_up.weight' is stored as q8_0, where its "
      "manifest's recipe has it as q4_k"))
      << rendered();
  expected.types["blk.0.attn_q.weight"] = "q4_k";
  expected.types["blk.1.attn_q.weight"] = "q4_k";
  ExpectError(Check(),
              "'blk.0.attn_q.weight' (and 1 of its kind) is left as bf16, "
              "where its manifest's recipe has it as q4_k");
  expected.is_recipe = false;
  EXPECT_TRUE(Check().ok());
  EXPECT_TRUE(absl::StrContains(rendered(), "warning: tensors: 'blk.0.attn_q"))
      << rendered();
  EXPECT_FALSE(absl::StrContains(rendered(), "ffn_up")) << rendered();
}

TEST_F(SanityTest, AFileTypeThatNothingBearsOut) {
  copy_.metadata.Set("general.file_type", uint32_t{15});
  ExpectError(Check(), "no tensor is quantized");
}

TEST_F(SanityTest, TokensAndTheirTypesAreCompared) {
  const auto* tokens = std::get_if<std::vector<std::string>>(
      copy_.metadata.Find("tokenizer.ggml.tokens"));
  ASSERT_NE(tokens, nullptr);
  std::vector<std::string> other = *tokens;
  std::swap(other[other.size() - 1], other[other.size() - 2]);
  copy_.metadata.Set("tokenizer.ggml.tokens", other);
  ExpectError(Check(), "is another; original '");

  copy_ = {};
  SetUp();
  auto types = std::get<std::vector<int32_t>>(
      *copy_.metadata.Find("tokenizer.ggml.token_type"));
  types[7] = types[7] == 3 ? 1 : 3;
  copy_.metadata.Set("tokenizer.ggml.token_type", types);
  ExpectError(Check(), "has another type; original ");
}

TEST_F(SanityTest, SpecialIdsAreCompared) {
  const auto eos = copy_.metadata.GetInteger("tokenizer.ggml.eos_token_id");
  ASSERT_TRUE(eos.has_value());
  copy_.metadata.Set("tokenizer.ggml.eos_token_id",
                     static_cast<uint32_t>(*eos + 1));
  ExpectError(Check(), "eos token is another");
}

TEST_F(SanityTest, ChatTemplatesAreCompared) {
  const std::string key = "tokenizer.chat_template";
  copy_.metadata.Erase(key);
  if (original_->metadata().Has(key)) {
    ExpectError(Check(), "is missing");
  }
  copy_.metadata.Set(key, std::string("{{ 'x' }}"));
  EXPECT_FALSE(Check().findings.empty());
}

TEST(FixedConversationsTest, Parse) {
  for (const FixedConversation& fixed : SanityConversations()) {
    const auto messages = JsonDocument::Parse(fixed.messages, fixed.name);
    EXPECT_TRUE(messages.ok()) << messages.status();
    if (*fixed.variables != '\0') {
      EXPECT_TRUE(JsonDocument::Parse(fixed.variables, fixed.name).ok());
    }
  }
}

}  // namespace
}  // namespace narrow
