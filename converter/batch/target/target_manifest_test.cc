#include "converter/batch/target/target_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "converter/provenance/made_by.h"
#include "converter/provenance/manifest.h"
#include "formats/base/file.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

PlannedTarget Target(const std::string& text) {
  const auto plan = ParseRelease(
      "out: 'o' model { path: 'm' imatrix: 'i.gguf' } target {" + text + "}",
      "r/release.textproto");
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan->models[0].targets[0];
}

TEST(CommandOfTarget, FileTypesAreConversions) {
  const TargetCommand command = CommandOfTarget(
      "m",
      Target("to: 'Q4_K_M' strict: true pure: true tensor_type: 'down=q6_k' "
             "output_tensor_type: 'q8_0' token_embedding_type: 'q5_k'"),
      "x");
  EXPECT_THAT(
      command.words,
      ElementsAre("convert", "m", "--to=Q4_K_M", "--imatrix=r/i.gguf",
                  "--mode=strict", "--pure", "--tensor-type=down=q6_k",
                  "--output-tensor-type=q8_0", "--token-embedding-type=q5_k"));
  EXPECT_EQ(command.recipe, "");
}

TEST(CommandOfTarget, SolversAreOptions) {
  EXPECT_THAT(
      CommandOfTarget("m",
                      Target("to: 'Q4_K_M' solver: 'compensated' "
                             "calibration { file: 'c.txt' samples: 9 }"),
                      "x")
          .words,
      ElementsAre("convert", "m", "--to=Q4_K_M", "--imatrix=r/i.gguf",
                  "--solver=compensated", "--calibration=r/c.txt",
                  "--samples=9"));
}

TEST(CommandOfTarget, RecipesAreOptionsAndARest) {
  const TargetCommand simple = CommandOfTarget(
      "m",
      Target("recipe { rule { method: 'gptq' bits: 3 group_size: -1 symmetric: "
             "false } format: 'gptq' calibration { file: 'c.txt' } }"),
      "x.recipe");
  EXPECT_THAT(simple.words,
              ElementsAre("quantize", "m", "--method=gptq", "--bits=3",
                          "--group-size=-1", "--asymmetric", "--format=gptq",
                          "--calibration=r/c.txt"));
  EXPECT_EQ(simple.recipe, "");
  const TargetCommand rest = CommandOfTarget(
      "-m", Target("recipe { rule { method: 'hqq' } ignore: '[ab]' }"),
      "x.recipe");
  EXPECT_THAT(rest.words, ElementsAre("quantize", "./-m", "--method=hqq",
                                      "--recipe=x.recipe"));
  EXPECT_THAT(rest.recipe, HasSubstr("ignore: \"[ab]\""));
  EXPECT_THAT(rest.recipe, Not(HasSubstr("hqq")));
}

TEST(CommandText, QuotesForAShell) {
  EXPECT_EQ(CommandText({"convert", "a b", "--x=it's"}),
            "narrow convert 'a b' '--x=it'\\''s'");
}

TEST(Manifest, HasWhatWasMeasured) {
  const std::string output = ::testing::TempDir() + "/measured.gguf";
  ASSERT_TRUE(WriteTextFile(output, "x").ok());
  provenance::Manifest manifest;
  manifest.set_format(1);
  const std::string hash(64, 'a');
  manifest.mutable_output()->set_sha256(hash);
  provenance::File* file = manifest.mutable_output()->add_files();
  file->set_name("measured.gguf");
  file->set_sha256(hash);
  ASSERT_TRUE(WriteManifest(manifest, ManifestPath(output)).ok());

  TargetRecord record;
  record.add_file()->set_name("measured.gguf");
  EXPECT_FALSE(HasManifest(::testing::TempDir(), output, record));
  record.mutable_file(0)->set_sha256(hash);
  EXPECT_TRUE(HasManifest(::testing::TempDir(), output, record));

  RecordedDomain* domain = record.mutable_validation()->add_domain();
  domain->set_name("wiki");
  domain->set_kld(0.25);
  for (int i = 0; i < 2; ++i) {  // the second does nothing
    ASSERT_TRUE(SetMeasured(output, record.validation()).ok());
  }
  const auto after = ReadManifest(ManifestPath(output));
  ASSERT_TRUE(after.ok()) << after.status();
  ASSERT_EQ(after->measured_size(), 3);
  EXPECT_EQ(MadeBy(output), "");  // of no input
  EXPECT_EQ(MadeBy(output + "x"), "");
  EXPECT_EQ(after->measured(2).name(), "KL divergence");
  EXPECT_EQ(after->measured(2).value(), 0.25);
}

}  // namespace
}  // namespace narrow
