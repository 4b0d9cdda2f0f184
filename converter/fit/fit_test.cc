// Sizes, order and limits of what fits.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "converter/fit/fit_choices.h"
#include "converter/fit/fit_report.h"
#include "converter/fit/memory_need.h"
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
  // The order of published divergences (Llama-3-8B).
  const std::vector<std::string> order = {
      "F16",    "Q8_0",   "Q6_K",   "Q5_K_M", "Q5_K_S",  "Q4_K_M", "Q4_K_S",
      "Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ2_M",  "IQ2_XXS", "IQ1_S"};
  auto place = names.begin();
  for (const std::string& name : order) {
    const auto found = std::find(names.begin(), names.end(), name);
    ASSERT_NE(found, names.end()) << name;
    EXPECT_GE(found, place) << name;
    place = found;
  }
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
