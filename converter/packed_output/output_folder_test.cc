#include "converter/packed_output/output_folder.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/match.h"
#include "formats/base/file.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

class OutputFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) /
            testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    fs::create_directories(root_);
    out_ = (root_ / "out").string();
  }
  std::unique_ptr<OutputFolder> Open() {
    auto folder = OutputFolder::Create(out_);
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.ok() ? *std::move(folder) : nullptr;
  }

  fs::path root_;
  std::string out_;
};

TEST_F(OutputFolderTest, AppearsWhenItIsFinished) {
  {
    const auto folder = Open();
    ASSERT_TRUE(folder->BeginWork("a", false).ok());
    ASSERT_TRUE(WriteTextFile(JoinPath(folder->path(), "x"), "1").ok());
    EXPECT_FALSE(fs::exists(out_));
    ASSERT_TRUE(folder->Finish().ok());
  }
  EXPECT_TRUE(fs::exists(out_ + "/x"));
  EXPECT_FALSE(fs::exists(out_ + ".partial"));
  EXPECT_FALSE(OutputFolder::Create(out_).ok());
}

TEST_F(OutputFolderTest, LeavesNothingWithoutFinish) {
  {
    const auto folder = Open();
    ASSERT_TRUE(folder->BeginWork("a", false).ok());
    ASSERT_TRUE(WriteTextFile(JoinPath(folder->path(), "x"), "1").ok());
    ASSERT_TRUE(WriteTextFile(JoinPath(folder->work_path(), "y"), "1").ok());
  }
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(OutputFolderTest, KeepsWorkForTheSameFingerprintAlone) {
  {
    const auto folder = Open();
    ASSERT_TRUE(folder->BeginWork("a", false).ok());
    ASSERT_TRUE(WriteTextFile(JoinPath(folder->work_path(), "y"), "1").ok());
    folder->KeepWork();
  }
  {
    const auto folder = Open();
    const absl::Status other = folder->BeginWork("b", false);
    EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(GoesAwayWithRestart(other)) << other;
    EXPECT_FALSE(GoesAwayWithRestart(
        folder->NameRestart(absl::DataLossError("a weight is nan"))));
    EXPECT_TRUE(GoesAwayWithRestart(folder->NameRestart(
        absl::DataLossError("cut short; reading " + folder->work_path()))));
  }
  {
    const auto folder = Open();
    ASSERT_TRUE(folder->BeginWork("a", false).ok());
    EXPECT_TRUE(FileExists(JoinPath(folder->work_path(), "y")));
    folder->KeepWork();
  }
  const auto folder = Open();
  ASSERT_TRUE(folder->BeginWork("b", true).ok());
  EXPECT_FALSE(FileExists(JoinPath(folder->work_path(), "y")));
}

TEST_F(OutputFolderTest, AnErrorDoesNotLoseTheWorkOfARunBefore) {
  {
    const auto folder = Open();
    ASSERT_TRUE(folder->BeginWork("a", false).ok());
    ASSERT_TRUE(WriteTextFile(JoinPath(folder->work_path(), "y"), "1").ok());
    folder->KeepWork();
  }
  EXPECT_TRUE(Open()->keeps_work());                // an error before BeginWork
  EXPECT_TRUE(Open()->BeginWork("a", false).ok());  // and one after it
  {
    const auto folder = Open();
    EXPECT_TRUE(FileExists(JoinPath(folder->work_path(), "y")));
    ASSERT_TRUE(folder->BeginWork("a", true).ok());
    EXPECT_FALSE(folder->keeps_work());
  }
  EXPECT_TRUE(fs::is_empty(root_));
  {
    const auto folder = Open();
    ASSERT_TRUE(folder->BeginWork("a", false).ok());
    folder->KeepWork();
    folder->DropWork();
  }
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST(MayGoOn, AfterStopsAndFaultsOfTheMachineAlone) {
  for (const int error : {ENOSPC, EDQUOT, EIO, ESTALE, EFBIG, EACCES, EROFS}) {
    EXPECT_TRUE(MayGoOn(absl::ErrnoToStatus(error, ""))) << error;
  }
  EXPECT_TRUE(MayGoOn(absl::CancelledError()));
  EXPECT_FALSE(MayGoOn(absl::DataLossError("a weight is nan")));
  EXPECT_FALSE(MayGoOn(absl::InvalidArgumentError("no such type")));
}

TEST_F(OutputFolderTest, GoesOnWithWorkThatLostItsLock) {
  {
    const auto folder = Open();
    ASSERT_TRUE(folder->BeginWork("a", false).ok());
    ASSERT_TRUE(WriteTextFile(JoinPath(folder->work_path(), "y"), "1").ok());
    folder->KeepWork();
  }
  ASSERT_TRUE(fs::remove(out_ + ".partial/lock"));
  const auto folder = Open();
  ASSERT_TRUE(folder->BeginWork("a", false).ok());
  EXPECT_TRUE(FileExists(JoinPath(folder->work_path(), "y")));
}

TEST_F(OutputFolderTest, FinishesWhatWasKilledAfterTheRename) {
  {
    const auto folder = Open();
    ASSERT_TRUE(folder->BeginWork("a", false).ok());
    folder->KeepWork();
  }
  fs::create_directory(out_);
  ASSERT_TRUE(WriteTextFile(out_ + "/x", "1").ok());
  {
    const auto folder = Open();
    EXPECT_FALSE(folder->BeginWork("b", false).ok());
  }
  EXPECT_TRUE(fs::exists(out_ + ".partial"));
  const auto folder = Open();
  ASSERT_TRUE(folder->BeginWork("a", false).ok());
  EXPECT_TRUE(folder->complete());
  ASSERT_TRUE(folder->Finish().ok());
  EXPECT_TRUE(fs::exists(out_ + "/x"));
  EXPECT_FALSE(fs::exists(out_ + ".partial"));
}

TEST_F(OutputFolderTest, RemovesWhatIsLeftOfWorkThatIsDone) {
  fs::create_directories(out_ + ".partial.old/state");
  ASSERT_TRUE(WriteTextFile(out_ + ".partial.old/lock", "").ok());
  ASSERT_TRUE(Open()->Finish().ok());
  EXPECT_FALSE(fs::exists(out_ + ".partial.old"));
  EXPECT_FALSE(fs::exists(out_ + ".partial"));
}

TEST_F(OutputFolderTest, RefusesWhatIsNotItsOwn) {
  fs::create_directory(out_);
  ASSERT_TRUE(WriteTextFile(out_ + "/x", "1").ok());
  EXPECT_FALSE(OutputFolder::Create(out_).ok());
  out_ = (root_ / "other").string();
  fs::create_directory(out_ + ".partial");
  ASSERT_TRUE(WriteTextFile(out_ + ".partial/mine", "1").ok());
  EXPECT_FALSE(OutputFolder::Create(out_).ok());
  EXPECT_TRUE(FileExists(out_ + ".partial/mine"));
  EXPECT_FALSE(OutputFolder::Create(".").ok());
  EXPECT_FALSE(OutputFolder::Create("").ok());
}

TEST_F(OutputFolderTest, BelongsToOneProcess) {
  const auto folder = Open();
  EXPECT_EQ(OutputFolder::Create(out_).status().code(),
            absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace narrow
