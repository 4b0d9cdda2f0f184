#include "converter/commands/expected_types.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "converter/provenance/manifest.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr char kUp[] = "blk.0.ffn_up.weight";
constexpr char kDown[] = "blk.0.ffn_down.weight";

class ExpectedTypesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    CheckpointOptions exact;
    exact.intermediate = "exact";
    original_ = Checkpoint::Open("testdata/tiny-llama", exact).value();
    Recipe recipe;
    recipe.file_type = FileType::kQ4_0;
    const auto model = Checkpoint::Open("testdata/tiny-llama", {}).value();
    const auto plan = MakePlan(*model, recipe, nullptr);
    ASSERT_TRUE(plan.ok()) << plan.status();
    path_ = JoinPath(::testing::TempDir(), "candidate.gguf");
    const std::vector<Output> outputs = {{&*plan, path_}};
    ASSERT_TRUE(WriteOutputs(*model, outputs, {}).ok());
    candidate_ = Checkpoint::Open(path_, {}).value();
    RemoveManifest(ManifestPath(path_));
  }

  void Manifest(const std::string& command,
                const std::vector<std::string>& arguments) {
    provenance::Manifest manifest;
    manifest.set_format(1);
    manifest.set_command(command);
    for (const std::string& argument : arguments) {
      manifest.add_arguments(argument);
    }
    manifest.mutable_output()->set_sha256(std::string(64, 'a'));
    ASSERT_TRUE(WriteManifest(manifest, ManifestPath(path_)).ok());
  }

  ExpectedTypes Expected() {
    return ExpectedTypesOf(*original_, *candidate_).value_or(ExpectedTypes());
  }

  std::unique_ptr<Checkpoint> original_, candidate_;
  std::string path_;
};

TEST_F(ExpectedTypesTest, OfTheFileType) {
  const ExpectedTypes expected = Expected();
  EXPECT_EQ(expected.source, "its file type Q4_0");
  EXPECT_FALSE(expected.is_recipe);
  EXPECT_EQ(expected.types.at(kUp), "q4_0");
  EXPECT_EQ(expected.types.count("blk.0.attn_norm.weight"), 0u);
  // A directory says nothing.
  EXPECT_FALSE(ExpectedTypesOf(*original_, *original_).has_value());
}

TEST_F(ExpectedTypesTest, OfAManifestsConversion) {
  Manifest("convert", {"--to=Q4_0", "--tensor-type=ffn_up=bf16",
                       "--tensor-type=ffn_down=q8_0", "--imatrix=gone.gguf",
                       "--pre=llama-bpe"});
  const ExpectedTypes expected = Expected();
  EXPECT_TRUE(expected.is_recipe);
  EXPECT_EQ(expected.types.count(kUp), 0u);
  EXPECT_EQ(expected.types.at(kDown), "q8_0");
}

TEST_F(ExpectedTypesTest, OfAManifestsQuantization) {
  Manifest("quantize", {"--method=rtn", "--bits=4", "--group-size=64",
                        "--ignore=up_proj", "--allow-mixed"});
  const ExpectedTypes expected = Expected();
  EXPECT_TRUE(expected.is_recipe);
  EXPECT_EQ(expected.types.count(kUp), 0u);
  EXPECT_EQ(expected.types.at(kDown), kPacked);
}

TEST_F(ExpectedTypesTest, AManifestThatSaysNothingLeavesTheFileType) {
  Manifest("convert", {"--to=Q4_9"});
  EXPECT_EQ(Expected().source, "its file type Q4_0");
  Manifest("quantize", {"--recipe=gone.txtpb"});
  EXPECT_EQ(Expected().source, "its file type Q4_0");
  Manifest("merge", {});
  EXPECT_EQ(Expected().source, "its file type Q4_0");
}

}  // namespace
}  // namespace narrow
