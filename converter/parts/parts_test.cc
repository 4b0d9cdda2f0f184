// Parts put together against single runs, and damaged ones.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/importance/importance.h"
#include "converter/parts/merge_parts.h"
#include "converter/parts/part_file.h"
#include "converter/parts/write_part.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "formats/digest/model_digest.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

std::string NewFolder(const std::string& name) {
  const std::string folder = JoinPath(::testing::TempDir(), name);
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

std::string BytesOf(const std::string& path) {
  const auto file = MappedFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok()
             ? std::string((*file)->bytes().begin(), (*file)->bytes().end())
             : "";
}

struct Case {
  const char* model;
  const char* file_type;
  const char* imatrix;
  int64_t max_tensors;  // of a GGUF shard; 0: one file
};

std::vector<std::string> WriteParts(const Checkpoint& model, const Plan& plan,
                                    int64_t count, const std::string& folder,
                                    bool whole_tensors = false) {
  std::vector<std::string> paths;
  for (int64_t k = 1; k <= count; ++k) {
    PartRequest request;
    request.shard = {k, count};
    request.version = "test";
    request.whole_tensors = whole_tensors;
    PipelineOptions options;
    options.n_threads = static_cast<int>(k % 3 + 1);
    // At the front, so that merging has to order them.
    paths.insert(paths.begin(), JoinPath(folder, absl::StrCat("part-", k)));
    const auto written =
        WritePart(model, plan, request, paths.front(), options);
    EXPECT_TRUE(written.ok()) << written.status();
    EXPECT_EQ(written.value_or(0),
              static_cast<int64_t>(fs::file_size(paths.front())));
  }
  return paths;
}

void ExpectSameBytes(const Case& test) {
  SCOPED_TRACE(absl::StrCat(test.model, " ", test.file_type));
  const auto model = Checkpoint::Open(test.model, {});
  ASSERT_TRUE(model.ok()) << model.status();
  std::optional<ImportanceMatrix> importance;
  if (*test.imatrix != '\0') {
    importance = ReadImportance(test.imatrix).value();
  }
  Recipe recipe;
  recipe.file_type = ParseFileType(test.file_type).value();
  if (test.max_tensors > 0) {
    recipe.split = GgufSplitOptions();
    recipe.split->max_tensors = test.max_tensors;
  }
  const auto plan = MakePlan(**model, recipe,
                             importance.has_value() ? &*importance : nullptr);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const std::string folder = NewFolder("parts_single");
  ASSERT_TRUE(
      WriteOutputs(**model, {{&*plan, JoinPath(folder, "m.gguf")}}, {}).ok());
  // Of the smallest model, enough for parts of a few rows.
  const bool is_small = absl::StrContains(test.model, "gemma3");
  for (const int64_t count : {1, 3, is_small ? 80 : 7}) {
    for (const bool whole : {false, true}) {
      const std::string merged_folder = NewFolder("parts_merged");
      const auto merged =
          OpenParts(WriteParts(**model, *plan, count, merged_folder, whole));
      ASSERT_TRUE(merged.ok()) << merged.status();
      EXPECT_EQ(merged->model.sha256, DigestModel(test.model, 1)->sha256);
      const std::string out = JoinPath(merged_folder, "out");
      ASSERT_TRUE(WriteMerged(*merged, JoinPath(out, "m.gguf"), {}).ok());
      int n_files = 0;
      for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        EXPECT_EQ(BytesOf(JoinPath(folder, name)), BytesOf(JoinPath(out, name)))
            << name << " of " << count << " parts";
        ++n_files;
      }
      EXPECT_EQ(n_files, static_cast<int>(plan->files.size()));
    }
  }
}

TEST(PartsTest, MergeToTheBytesOfASingleRun) {
  for (const Case& test : std::vector<Case>{
           {"testdata/tiny-llama", "Q4_K_M", "", 0},
           {"testdata/tiny-llama", "IQ3_XXS",
            "testdata/imatrix/tiny-llama-imatrix.gguf", 0},
           {"testdata/tiny-llama", "Q8_0", "", 5},
           {"testdata/tiny-llama", "NVFP4", "", 0},
           {"testdata/arch/mixtral", "Q4_0", "", 0},
           {"testdata/arch/qwen3_moe", "NVFP4", "", 3},
           {"testdata/arch/gemma3_text", "Q5_K_M", "", 0},
       }) {
    ExpectSameBytes(test);
  }
}

class DamageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = Checkpoint::Open("testdata/arch/qwen3", {}).value();
    folder_ = NewFolder("parts_damaged");
    plan_ = MakePlan(*model_, recipe_, nullptr).value();
    paths_ = WriteParts(*model_, plan_, 3, folder_);
  }

  // Of everything that merging does before it writes.
  absl::Status Merge(const std::vector<std::string>& paths) {
    const auto merged = OpenParts(paths);
    return merged.ok() ? WriteMerged(*merged, JoinPath(folder_, "m.gguf"), {})
                       : merged.status();
  }

  Recipe recipe_;
  std::unique_ptr<Checkpoint> model_;
  std::string folder_;
  Plan plan_;
  std::vector<std::string> paths_;  // the last part first
};

TEST_F(DamageTest, AnyByteFlippedIsFound) {
  const std::string good = BytesOf(paths_[2]);
  const std::string path = JoinPath(folder_, "flipped");
  std::mt19937 random(1);
  for (int i = 0; i < 400; ++i) {
    std::string bad = good;
    // The head, the end, and places all over.
    const size_t at = i < 16   ? static_cast<size_t>(i)
                      : i < 80 ? bad.size() - 1 - static_cast<size_t>(i - 16)
                               : random() % bad.size();
    bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
    ASSERT_TRUE(WriteTextFile(path, bad).ok());
    EXPECT_FALSE(Merge({paths_[0], paths_[1], path}).ok()) << "byte " << at;
    EXPECT_FALSE(FileExists(JoinPath(folder_, "m.gguf")));
  }
  for (const size_t size : {size_t{0}, size_t{7}, size_t{20}, size_t{63},
                            size_t{64}, good.size() / 2, good.size() - 1}) {
    ASSERT_TRUE(WriteTextFile(path, good.substr(0, size)).ok());
    EXPECT_FALSE(Merge({paths_[0], paths_[1], path}).ok()) << size;
  }
  EXPECT_TRUE(Merge(paths_).ok());
}

TEST_F(DamageTest, IncompleteAndForeignPartsAreNamed) {
  const absl::Status missing = Merge({paths_[0], paths_[2]});
  EXPECT_TRUE(absl::StrContains(missing.message(), "missing: 2")) << missing;
  EXPECT_TRUE(absl::StrContains(
      Merge({paths_[0], paths_[1], paths_[1], paths_[2]}).message(), "twice"));

  Recipe other_recipe;
  other_recipe.file_type = FileType::kQ4_0;
  const Plan other = MakePlan(*model_, other_recipe, nullptr).value();
  const auto other_paths =
      WriteParts(*model_, other, 3, NewFolder("parts_other"));
  EXPECT_TRUE(
      absl::StrContains(Merge({other_paths[0], paths_[1], paths_[2]}).message(),
                        "different plans"));

  const auto model = Checkpoint::Open("testdata/arch/qwen2", {}).value();
  const Plan foreign = MakePlan(*model, recipe_, nullptr).value();
  const auto foreign_paths =
      WriteParts(*model, foreign, 3, NewFolder("parts_foreign"));
  EXPECT_TRUE(absl::StrContains(
      Merge({foreign_paths[0], paths_[1], paths_[2]}).message(),
      "different models"));
}

// A description that is whole but lies: sizes that overflow, rows that are
// not there.
TEST_F(DamageTest, HostileDescriptionsAreRefused) {
  const std::string path = JoinPath(folder_, "hostile");
  const auto refused = [&](const parts::Part& part) {
    auto writer = PartWriter::Create(path, {});
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->Finish(part).ok());
    EXPECT_FALSE(Merge({path}).ok());
  };
  parts::Part part = PartFile::Open(paths_[2])->description();
  part.set_count(1);
  refused(part);  // its rows are not in the file
  part.clear_rows();
  refused(part);
  parts::Rows* rows = part.add_rows();
  rows->set_type("f32");
  rows->set_n_rows(int64_t{1} << 62);
  rows->add_shape(int64_t{1} << 62);
  rows->add_shape(0);
  rows->add_shape(int64_t{1} << 62);
  refused(part);
  rows->set_type("no type");
  refused(part);
  rows->set_type("q4_k");
  rows->clear_shape();
  rows->add_shape(-1);
  refused(part);
  part.clear_rows();
  part.clear_head();
  refused(part);
  part.set_index(-5);
  refused(part);
  part.set_count(int64_t{1} << 60);
  part.set_index(int64_t{1} << 60);
  refused(part);
}

}  // namespace
}  // namespace narrow
