#include "converter/batch/batch_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "converter/batch/batch_report.h"
#include "converter/batch/target/target_record.h"
#include "formats/base/file.h"

namespace narrow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class BatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/batch";
    std::filesystem::remove_all(folder_);
    options_.validate = [this](const std::string&, const PlannedTarget& target,
                               const ReleaseValidation&, const std::string&) {
      ++n_validated_;
      RecordedValidation validation;
      validation.set_verdict(target.name == "Q4_0" ? "fail" : "pass");
      return validation;
    };
  }

  // The model's absolute path, since releases' paths are relative to them.
  void Plan(const std::string& targets) {
    const std::string model =
        std::filesystem::absolute("testdata/tiny-llama").string();
    const auto plan =
        ParseRelease("out: 'o' model { path: '" + model + "' } " + targets,
                     folder_ + "/release.textproto");
    ASSERT_TRUE(plan.ok()) << plan.status();
    plan_ = *plan;
  }

  BatchOutcome Run() { return RunBatch(plan_, options_); }

  std::string folder_;
  ReleasePlan plan_;
  BatchOptions options_;
  int n_validated_ = 0;
};

TEST_F(BatchTest, MakesOnceWhatIsThere) {
  Plan("target { to: 'Q8_0' } target { to: 'Q4_0' }");
  const BatchOutcome first = Run();
  EXPECT_EQ(CountOutcome(first).n_errors, 0);
  EXPECT_FALSE(first.models[0].targets[0].was_there);
  const BatchOutcome second = Run();
  EXPECT_TRUE(second.models[0].targets[0].was_there);
  EXPECT_EQ(BatchJson(first), BatchJson(second));
}

TEST_F(BatchTest, AnErrorStaysWithItsTarget) {
  Plan("target { to: 'Q8_0' } target { to: 'IQ2_XXS' }");  // needs an imatrix
  const BatchOutcome outcome = Run();
  EXPECT_TRUE(outcome.models[0].targets[0].status.ok());
  EXPECT_EQ(outcome.models[0].targets[1].status.code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(FileExists(plan_.models[0].targets[0].output));
  EXPECT_FALSE(FileExists(plan_.models[0].targets[1].output));
  EXPECT_THAT(BatchTable(outcome), HasSubstr("importance"));
}

TEST_F(BatchTest, AMissingModelDoesNotStopOthers) {
  Plan("target { to: 'Q8_0' } model { path: 'nowhere' }");
  const BatchOutcome outcome = Run();
  EXPECT_TRUE(outcome.models[0].targets[0].status.ok());
  EXPECT_FALSE(outcome.models[1].targets[0].status.ok());
}

TEST_F(BatchTest, ValidatesOnceAndKeepsVerdicts) {
  const std::string text = folder_ + "/text.txt";
  ASSERT_TRUE(WriteTextFile(text, "some text").ok());
  Plan(
      "target { to: 'Q8_0' } target { to: 'Q4_0' } "
      "validation { text { file: 'text.txt' } max_kld: 1 }");
  EXPECT_EQ(CountOutcome(Run()).n_gate_failed, 1);
  EXPECT_EQ(n_validated_, 2);
  EXPECT_EQ(CountOutcome(Run()).n_gate_failed, 1);
  EXPECT_EQ(n_validated_, 2);
  // Another text is another validation.
  ASSERT_TRUE(WriteTextFile(text, "another text").ok());
  Run();
  EXPECT_EQ(n_validated_, 4);
}

TEST_F(BatchTest, RefusesWhatItDidNotMake) {
  Plan("target { to: 'Q8_0' }");
  const std::string& output = plan_.models[0].targets[0].output;
  ASSERT_TRUE(WriteTextFile(output, "mine").ok());
  EXPECT_EQ(Run().models[0].targets[0].status.code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*ReadTextFile(output, 100), "mine");
  options_.replace = true;
  EXPECT_TRUE(Run().models[0].targets[0].status.ok());
}

// As after a kill between the last rename and the record.
TEST_F(BatchTest, TakesACompleteOutputWhoseRecordWasCutOff) {
  Plan("target { to: 'Q8_0' }");
  const BatchOutcome first = Run();
  const std::string path =
      RecordPath(plan_.out, plan_.models[0].targets[0].output);
  TargetRecord record = ReadRecord(path);
  record.clear_done();
  record.clear_file();
  ASSERT_TRUE(WriteRecord(path, record).ok());
  EXPECT_EQ(BatchJson(Run()), BatchJson(first));
  EXPECT_TRUE(ReadRecord(path).done());
}

TEST_F(BatchTest, ChangedSettingsAreMadeAnew) {
  Plan("target { to: 'Q8_0' name: 'x' }");
  const BatchOutcome first = Run();
  Plan("target { to: 'Q4_0' name: 'x' }");
  const BatchOutcome second = Run();
  EXPECT_TRUE(second.models[0].targets[0].status.ok());
  EXPECT_FALSE(second.models[0].targets[0].was_there);
  EXPECT_NE(BatchJson(first), BatchJson(second));
}

TEST_F(BatchTest, DamageIsFoundAndRepaired) {
  Plan("target { recipe { rule { method: 'nf4' } } }");
  const BatchOutcome first = Run();
  ASSERT_TRUE(first.models[0].targets[0].status.ok())
      << first.models[0].targets[0].status;
  const std::string extra =
      JoinPath(plan_.models[0].targets[0].output, "extra.txt");
  ASSERT_TRUE(WriteTextFile(extra, "x").ok());
  const BatchOutcome second = Run();
  EXPECT_FALSE(second.models[0].targets[0].was_there);
  EXPECT_FALSE(FileExists(extra));
  EXPECT_EQ(BatchJson(first), BatchJson(second));
}

// Targets with the same solver share a call where the pass is shared; what is
// there already is left out; an error stays with its target.
TEST_F(BatchTest, SolversGetWhatIsPending) {
  const std::string text = folder_ + "/text.txt";
  ASSERT_TRUE(WriteTextFile(text, "some text").ok());
  std::vector<std::string> calls;
  std::string fails = "Q3_K_M";
  options_.solve = [&](const SolveTargetsRequest& request) {
    std::string call = request.words.back();
    absl::Status status;
    for (const Output& output : request.outputs) {
      call += " " + std::string(RecipeName(output.plan->recipe));
      if (RecipeName(output.plan->recipe) == fails) {
        status = absl::DataLossError("a weight");
      }
    }
    calls.push_back(call);
    for (const Output& output : request.outputs) {
      if (status.ok()) {
        status = WriteTextFile(output.path, call);
      }
    }
    return status;
  };
  const std::string one_shot =
      " solver: 'compensated' solver_options { order: 'one-shot' } }";
  Plan("calibration { file: 'text.txt' seed: 7 } target { to: 'Q4_K_M'" +
       one_shot + "target { to: 'Q8_0' } target { to: 'Q3_K_M'" + one_shot +
       "target { to: 'Q4_0' solver: 'compensated' }" +
       "target { to: 'Q5_0' solver: 'compensated' }");
  const BatchOutcome first = Run();
  EXPECT_THAT(calls,
              ElementsAre("--seed=7 Q4_K_M Q3_K_M", "--seed=7 Q4_K_M",
                          "--seed=7 Q3_K_M", "--seed=7 Q4_0", "--seed=7 Q5_0"));
  EXPECT_EQ(CountOutcome(first).n_errors, 1);
  EXPECT_EQ(first.models[0].targets[2].status.code(),
            absl::StatusCode::kDataLoss);
  calls.clear();
  fails = "";
  EXPECT_EQ(CountOutcome(Run()).n_errors, 0);
  EXPECT_THAT(calls, ElementsAre("--seed=7 Q3_K_M"));
  // Another text is another output.
  ASSERT_TRUE(WriteTextFile(text, "another text").ok());
  calls.clear();
  EXPECT_EQ(CountOutcome(Run()).n_errors, 0);
  EXPECT_EQ(calls.size(), 3u);
}

}  // namespace
}  // namespace narrow
