// Sizes, order and limits of what fits.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "converter/fit/fit_choices.h"
#include "converter/fit/fit_report.h"
#include "converter/fit/memory_need.h"
#include "converter/fit/role_weight.h"
#include "converter/plan.h"
#include "converter/quantize/model_input.h"
#include "formats/arch/checkpoint.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

class FitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto model = Checkpoint::Open("testdata/tiny-llama", CheckpointOptions());
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    auto options = GgufOptions(*model_, Recipe());
    ASSERT_TRUE(options.ok()) << options.status();
    options_ = *std::move(options);
    shape_.config = model_->config();
    shape_.layout = *CacheLayoutOf(model_->metadata());
    request_.memory = int64_t{1} << 30;
    request_.use.context = 512;
    request_.types = {CacheTypes()};
  }

  const FitChoice& Named(const std::string& name) const {
    return *std::find_if(
        options_.options.begin(), options_.options.end(),
        [&](const FitChoice& option) { return option.name == name; });
  }

  std::unique_ptr<Checkpoint> model_;
  FitChoices options_;
  FitShape shape_;
  FitRequest request_;
};

TEST_F(FitTest, SizesAreThoseOfThePlan) {
  Recipe recipe;
  recipe.file_type = FileType::kQ4_K_M;
  const auto plan = MakePlan(*model_, recipe, nullptr);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(Named("Q4_K_M").file_bytes, plan->file_bytes);
  EXPECT_EQ(Named("Q4_K_M").tensor_bytes, plan->tensor_bytes);
  EXPECT_EQ(Named("IQ2_XXS").needs, "imatrix");
  EXPECT_EQ(Named("Q8_0").needs, "");
}

TEST_F(FitTest, ComesInTheOrderOfLoss) {
  const std::vector<FitRow> rows = FitRows(options_.options, shape_, request_);
  std::vector<std::string> names;
  for (const FitRow& row : rows) {
    names.push_back(row.option->name);
  }
  // Pairs of llama.cpp's published table (Llama-3-8B, perplexities of
  // llama-quantize --help, and divergences of its perplexity tool's page): the
  // first is the better one.
  const std::pair<const char*, const char*> pairs[] = {
      {"F16", "Q8_0"},       {"Q8_0", "Q6_K"},     {"Q6_K", "Q5_K_M"},
      {"Q5_K_M", "Q5_K_S"},  {"Q5_K_M", "Q5_0"},   {"Q5_1", "Q5_0"},
      {"Q5_0", "Q4_K_M"},    {"Q5_K_S", "Q4_K_M"}, {"Q4_K_M", "Q4_K_S"},
      {"Q4_K_S", "IQ4_NL"},  {"Q4_K_S", "Q4_0"},   {"Q4_1", "Q4_0"},
      {"IQ4_XS", "Q4_0"},    {"Q4_0", "Q3_K_L"},   {"Q3_K_L", "Q3_K_M"},
      {"Q3_K_M", "Q3_K_S"},  {"IQ3_M", "IQ3_S"},   {"IQ3_S", "IQ3_XS"},
      {"IQ3_XS", "IQ3_XXS"}, {"Q3_K_M", "Q2_K"},   {"IQ3_XXS", "Q2_K"},
      {"Q2_K", "IQ2_S"},     {"IQ2_M", "IQ2_S"},   {"IQ2_S", "IQ2_XS"},
      {"IQ2_XS", "IQ2_XXS"}, {"IQ2_XXS", "IQ1_M"}, {"IQ1_M", "IQ1_S"}};
  for (const auto& [better, worse] : pairs) {
    const auto first = std::find(names.begin(), names.end(), better);
    const auto second = std::find(names.begin(), names.end(), worse);
    ASSERT_NE(first, names.end()) << better;
    ASSERT_NE(second, names.end()) << worse;
    EXPECT_LT(first, second) << better << " before " << worse;
  }
}

// Layers of a role share its weight, whatever their sizes; the output's is the
// embedding's where they are one.
TEST(RoleWeights, SumToOne) {
  const std::vector<std::string> names = {
      "token_embd.weight",        "blk.0.attn_q.weight",
      "blk.1.attn_q.weight",      "blk.0.ffn_down.weight",
      "blk.1.ffn_down.weight",    "blk.0.ssm_in.weight",
      "blk.0.ffn_gate_inp.weight"};
  const RoleWeights tied(names);
  double sum = 0;
  for (const std::string& name : names) {
    EXPECT_GT(tied.Of(name), 0) << name;
    sum += tied.Of(name);
  }
  EXPECT_NEAR(sum, 1, 1e-12);
  EXPECT_EQ(tied.Of("blk.0.attn_q.weight"), tied.Of("blk.1.attn_q.weight"));
  EXPECT_GT(tied.Of("blk.0.ffn_down.weight"), tied.Of("blk.0.attn_q.weight"));
  EXPECT_EQ(tied.Of("output.weight"), 0);
  std::vector<std::string> more = names;
  more.push_back("output.weight");
  const RoleWeights untied(more);
  EXPECT_NEAR(untied.Of("output.weight") + untied.Of("token_embd.weight"),
              tied.Of("token_embd.weight"), 1e-12);
}

TEST_F(FitTest, AByteDecides) {
  const std::vector<FitChoice> one = {Named("Q4_K_M")};
  request_.memory = FitRows(one, shape_, request_)[0].total_bytes;
  EXPECT_TRUE(FitRows(one, shape_, request_)[0].fits);
  EXPECT_EQ(FitRows(one, shape_, request_)[0].headroom_bytes, 0);
  EXPECT_EQ(FitRows(one, shape_, request_)[0].most_context, 512);
  --request_.memory;
  const std::vector<FitRow> rows = FitRows(one, shape_, request_);
  EXPECT_FALSE(rows[0].fits);
  EXPECT_EQ(rows[0].most_context, 256);
  const absl::Status status = CheckAnyFits(rows, request_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("Q4_K_M"));
  EXPECT_THAT(status.message(), HasSubstr("1 B too much"));
  EXPECT_THAT(status.message(), HasSubstr("a context of 256 would fit"));
}

TEST_F(FitTest, MoreSequencesNeedMore) {
  const std::vector<FitChoice> one = {Named("Q4_K_M")};
  const FitRow alone = FitRows(one, shape_, request_)[0];
  request_.use.n_parallel = 4;
  const FitRow four = FitRows(one, shape_, request_)[0];
  EXPECT_EQ(four.cache.bytes(), 4 * alone.cache.bytes());
  request_.cache_bytes = 1000;
  request_.compute_bytes = 100;
  request_.reserve = 10;
  const FitRow given = FitRows(one, shape_, request_)[0];
  EXPECT_EQ(given.total_bytes, one[0].tensor_bytes + 1110);
}

TEST_F(FitTest, CacheTypesGoToTheirClients) {
  const auto input = OpenModelInput("testdata/tiny-llama", {});
  ASSERT_TRUE(input.ok());
  const auto packed = PackedOptions(**input);
  ASSERT_TRUE(packed.ok()) << packed.status();
  EXPECT_GE(packed->options.size(), 15u);
  request_.types = {{QuantType::kQ8_0, QuantType::kQ8_0}};
  EXPECT_TRUE(FitRows(packed->options, shape_, request_).empty());
  EXPECT_FALSE(FitRows(options_.options, shape_, request_).empty());
  request_.types = {{QuantType::kF8E4M3, QuantType::kF8E4M3}};
  EXPECT_FALSE(FitRows(packed->options, shape_, request_).empty());
  EXPECT_TRUE(FitRows(options_.options, shape_, request_).empty());
}

// What llama-completion of llama.cpp 0.7.0 prints as its compute buffer:
// 8.02 MiB for this model at a context of 1024.
TEST_F(FitTest, TheAllowanceIsNotBelowLlamaCpp) {
  CacheUse use;
  use.context = 1024;
  const int64_t allowance = ComputeAllowance(shape_, use);
  EXPECT_GE(allowance, static_cast<int64_t>(8.02 * (1 << 20)));
  EXPECT_LE(allowance, static_cast<int64_t>(2 * 8.02 * (1 << 20)));
}

// Rows of 64 do not divide into blocks of 256.
TEST(GgufOptions, StrictLeavesOutWhatWouldFallBack) {
  const auto model =
      Checkpoint::Open("testdata/arch/llama3", CheckpointOptions());
  ASSERT_TRUE(model.ok()) << model.status();
  const auto has = [](const FitChoices& options, const std::string& name) {
    return std::any_of(
        options.options.begin(), options.options.end(),
        [&](const FitChoice& option) { return option.name == name; });
  };
  Recipe recipe;
  const auto compat = GgufOptions(**model, recipe);
  ASSERT_TRUE(compat.ok());
  EXPECT_TRUE(has(*compat, "Q4_K_M"));
  recipe.mode = Mode::kStrict;
  const auto strict = GgufOptions(**model, recipe);
  ASSERT_TRUE(strict.ok());
  EXPECT_FALSE(has(*strict, "Q4_K_M"));
  EXPECT_TRUE(has(*strict, "Q8_0"));
}

}  // namespace
}  // namespace narrow
