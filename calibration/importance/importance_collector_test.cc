// The collector against plain sums of everything the runner shows.

#include "calibration/importance/importance_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "calibration/importance/importance_coverage.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kTokens = 24;
constexpr int64_t kWindows = 3;

std::unique_ptr<Checkpoint> Open(const std::string& family) {
  CheckpointOptions options;
  options.skip_tokenizer = true;
  auto model = Checkpoint::Open("testdata/arch/" + family, options);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

// Shows `observer` windows of made-up tokens.
void RunModel(const Checkpoint& model, Observer* observer) {
  RunnerOptions options;
  options.precision = Precision::kExact;
  options.n_threads = 2;
  auto runner = ModelRunner::Create(&model, options);
  ASSERT_TRUE(runner.ok()) << runner.status();
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < kWindows * kTokens; ++i) {
    ids.push_back(i * 37 % static_cast<int32_t>((*runner)->vocab_size()));
  }
  HiddenStates hidden;
  ASSERT_TRUE((*runner)->Embed(ids, kTokens, &hidden).ok());
  for (int64_t block = 0; block < (*runner)->n_blocks(); ++block) {
    const absl::Status status = (*runner)->RunBlock(block, observer, &hidden);
    ASSERT_TRUE(status.ok()) << status;
  }
}

// Sums in the order of the rows, and nothing clever.
class PlainSums : public Observer {
 public:
  struct Sums {
    std::vector<double> sum, sum_sq;
    int64_t count = 0;
  };

  absl::Status OnInput(const LayerInput& input) override {
    const int64_t n_rows = input.n_rows, n_cols = input.n_cols;
    const float* const rows = input.rows;
    Sums& sums = sums_[{std::string(input.name), std::max(0, input.expert)}];
    sums.sum.resize(static_cast<size_t>(n_cols));
    sums.sum_sq.resize(static_cast<size_t>(n_cols));
    for (int64_t i = 0; i < n_rows * n_cols; ++i) {
      const double value = static_cast<double>(rows[i]);
      sums.sum[static_cast<size_t>(i % n_cols)] += value;
      sums.sum_sq[static_cast<size_t>(i % n_cols)] += value * value;
    }
    sums.count += n_rows;
    return absl::OkStatus();
  }

  std::map<std::pair<std::string, int>, Sums> sums_;
};

class CollectorTest : public testing::TestWithParam<const char*> {};

TEST_P(CollectorTest, SumsAreExactlyThoseOfAllRows) {
  const auto model = Open(GetParam());
  ASSERT_NE(model, nullptr);
  PlainSums plain;
  RunModel(*model, &plain);
  ThreadPool pool(3);
  ImportanceCollector collector(model.get(), &pool, kTokens, 0);
  RunModel(*model, &collector);
  const ImportanceCollection collection = collector.Collection();

  EXPECT_THAT(TensorsWithoutEntry(*model, collection), IsEmpty());
  EXPECT_TRUE(CheckIsOfModel(*model, collection).ok());
  int64_t n_matrices = 0, n_without = 0;
  for (const auto& [name, sums] : collection.entries) {
    const auto n_cols = static_cast<size_t>(sums.n_cols);
    for (size_t m = 0; m < sums.counts.size(); ++m, ++n_matrices) {
      const auto seen = plain.sums_.find({name, static_cast<int>(m)});
      if (seen == plain.sums_.end()) {
        EXPECT_EQ(sums.counts[m], 0) << name;
        ++n_without;
        continue;
      }
      EXPECT_EQ(sums.counts[m], seen->second.count) << name;
      const auto at = static_cast<std::ptrdiff_t>(m * n_cols);
      const auto end = at + static_cast<std::ptrdiff_t>(n_cols);
      EXPECT_EQ(std::vector<double>(sums.sum_sq.begin() + at,
                                    sums.sum_sq.begin() + end),
                seen->second.sum_sq)
          << name;
      EXPECT_EQ(
          std::vector<double>(sums.sum.begin() + at, sums.sum.begin() + end),
          seen->second.sum)
          << name;
    }
  }
  EXPECT_EQ(static_cast<size_t>(n_matrices - n_without), plain.sums_.size());
  EXPECT_EQ(CoverageOf(collection).n_matrices, n_matrices);
  EXPECT_EQ(CoverageOf(collection).n_without, n_without);
  // Queries, keys and values are summed once, and so are gate and up, unless
  // the file has them as one tensor anyway.
  const bool fused = model->Find("blk.0.attn_qkv.weight") != nullptr;
  EXPECT_EQ(collector.shared().size() < collection.entries.size(), !fused);
}

TEST_P(CollectorTest, GoesOnFromKeptSums) {
  const auto model = Open(GetParam());
  ASSERT_NE(model, nullptr);
  ThreadPool pool(1);
  ImportanceCollector whole(model.get(), &pool, kTokens, 0);
  RunModel(*model, &whole);
  ImportanceCollector second(model.get(), &pool, kTokens, 0);
  second.Restore(whole.shared());
  RunModel(*model, &whole);
  RunModel(*model, &second);
  for (const auto& [name, sums] : whole.Collection().entries) {
    const ImportanceSums other = second.Collection().entries.at(name);
    EXPECT_EQ(sums.sum_sq, other.sum_sq) << name;
    EXPECT_EQ(sums.counts, other.counts) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, CollectorTest,
                         testing::Values("llama3", "mixtral", "phi3",
                                         "qwen3_moe", "gemma3_text"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

TEST(ImportanceCollectorTest, NamesTensorWindowTokenAndColumn) {
  const auto model = Open("llama3");
  ASSERT_NE(model, nullptr);
  ThreadPool pool(1);
  ImportanceCollector collector(model.get(), &pool, /*window_tokens=*/4,
                                /*first_window=*/10);
  const char* const name = "blk.1.attn_q.weight";
  const int64_t n_cols = model->Find(name)->meta.n_cols();
  std::vector<float> rows(static_cast<size_t>(4 * n_cols), 1);
  ASSERT_TRUE(
      collector.OnInput({name, -1, rows.data(), 4, n_cols, 0, {}}).ok());
  rows[static_cast<size_t>(3 * n_cols + 7)] = HUGE_VALF;
  const absl::Status status =
      collector.OnInput({name, -1, rows.data(), 4, n_cols, 0, {}});
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("blk.1.attn_q.weight is not finite, first at window "
                        "11, token 3, column 7"));
}

TEST(ImportanceCollectorTest, RemembersTheExpertWhoseInputIsNotFinite) {
  const auto model = Open("mixtral");
  ASSERT_NE(model, nullptr);
  ThreadPool pool(1);
  ImportanceCollector collector(model.get(), &pool, 4, 0);
  const char* const name = "blk.0.ffn_down_exps.weight";
  const int64_t n_cols = model->Find(name)->meta.n_cols();
  std::vector<float> rows(static_cast<size_t>(n_cols), std::nanf(""));
  ASSERT_TRUE(collector.OnInput({name, 2, rows.data(), 1, n_cols, 0, {}}).ok());
  EXPECT_EQ(collector.bad_expert_input(),
            "the input of blk.0.ffn_down_exps.weight, expert 2");
}

TEST(ImportanceCoverageTest, FindsGapsAndOtherModels) {
  const auto model = Open("mixtral");
  ASSERT_NE(model, nullptr);
  ImportanceCollection collection;
  collection.path = "sums";
  ImportanceSums& sums = collection.entries["blk.0.ffn_up_exps.weight"];
  sums = {4, 64, std::vector<double>(256), {}, {3, 0, 5, 0}};
  ASSERT_TRUE(CheckIsOfModel(*model, collection).ok());
  const ImportanceCoverage coverage = CoverageOf(collection);
  ASSERT_THAT(coverage.gaps, SizeIs(1));
  EXPECT_EQ(coverage.gaps[0].n_without, 2);
  EXPECT_EQ(coverage.gaps[0].n_matrices, 4);
  EXPECT_EQ(TensorsWithoutEntry(*model, collection).size(), 23u);
  sums = {4, 32, std::vector<double>(128), {}, {3, 0, 5, 0}};
  EXPECT_THAT(std::string(CheckIsOfModel(*model, collection).message()),
              HasSubstr("needs 256 importance values, there are 128"));
  collection.entries = {{"blk.9.other", sums}};
  EXPECT_THAT(std::string(CheckIsOfModel(*model, collection).message()),
              HasSubstr("no entry has the name of a tensor"));
}

}  // namespace
}  // namespace narrow
