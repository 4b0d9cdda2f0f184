#include "formats/base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

namespace narrow {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string TempPath(const std::string& name) {
  return JoinPath(::testing::TempDir(), name);
}

TEST(OutputFileTest, AppearsUnderItsNameOnlyWhenFinished) {
  const std::string path = TempPath("finished/deep/out.bin");
  auto file = OutputFile::Create(path, 1 << 20);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Append(absl::string_view("abc")).ok());
  ASSERT_TRUE((*file)->AppendZeros(70000).ok());
  EXPECT_FALSE(FileExists(path));
  ASSERT_TRUE((*file)->Finish().ok());
  auto text = ReadTextFile(path, 1 << 20);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->size(), 70003u);
  EXPECT_FALSE(FileExists(path + ".partial"));
}

TEST(OutputFileTest, LeavesNothingWithoutFinish) {
  const std::string path = TempPath("unfinished.bin");
  {
    auto file = OutputFile::Create(path);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Append(absl::string_view("abc")).ok());
  }
  EXPECT_FALSE(FileExists(path));
  EXPECT_FALSE(FileExists(path + ".partial"));
}

TEST(OutputFileTest, RefusesASecondWriter) {
  const std::string path = TempPath("locked.bin");
  auto first = OutputFile::Create(path);
  ASSERT_TRUE(first.ok());
  auto second = OutputFile::Create(path);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
}

// A writer that opened the partial file before another finished must not take
// the finished file, by then under its final name, for its own.
TEST(OutputFileTest, WritersThatRaceNeverDamageAFinishedFile) {
  const std::string path = TempPath("raced.bin");
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&path] {
      for (int round = 0; round < 200; ++round) {
        auto file = OutputFile::Create(path);
        if (!file.ok()) {
          EXPECT_EQ(file.status().code(), absl::StatusCode::kAlreadyExists)
              << file.status();
          continue;
        }
        EXPECT_TRUE((*file)->Append(absl::string_view("whole")).ok());
        EXPECT_TRUE((*file)->Finish().ok());
      }
    });
  }
  for (std::thread& writer : writers) {
    writer.join();
  }
  EXPECT_EQ(ReadTextFile(path, 100).value(), "whole");
}

TEST(OutputFileTest, ReplacesNoPipe) {
  const std::string path = TempPath("output_pipe");
  unlink(path.c_str());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(OutputFile::Create(path).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(IsSpecialFile(path));
}

TEST(OutputFileTest, FollowsNoLinkInThePlaceOfThePartialFile) {
  const std::string path = TempPath("linked.bin");
  const std::string precious = TempPath("precious.bin");
  ASSERT_TRUE(WriteTextFile(precious, "precious").ok());
  unlink((path + ".partial").c_str());
  ASSERT_EQ(symlink(precious.c_str(), (path + ".partial").c_str()), 0);
  EXPECT_FALSE(OutputFile::Create(path).ok());
  EXPECT_EQ(ReadTextFile(precious, 100).value(), "precious");
}

TEST(OutputFileTest, FindsAFullDiskBeforeWork) {
  const std::string path = TempPath("huge.bin");
  auto file = OutputFile::Create(path, int64_t{1} << 55);
  EXPECT_EQ(file.status().code(), absl::StatusCode::kResourceExhausted)
      << file.status();
  // Told before anything is taken, not while it is.
  EXPECT_THAT(std::string(file.status().message()),
              Not(HasSubstr("has 0 free")));
  EXPECT_FALSE(FileExists(path + ".partial"));
}

TEST(MappedFileTest, NamesThePathOfWhatItCannotOpen) {
  auto missing = MappedFile::Open("/nonexistent/file");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()),
              HasSubstr("/nonexistent/file"));
  auto folder = MappedFile::Open(::testing::TempDir());
  EXPECT_EQ(folder.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(FileExistsTest, LinksThatLeadNowhereCount) {
  const std::string path = TempPath("dangling");
  unlink(path.c_str());
  EXPECT_FALSE(FileExists(path));
  ASSERT_EQ(symlink("/nonexistent/file", path.c_str()), 0);
  EXPECT_TRUE(FileExists(path));
  EXPECT_FALSE(FileExists(::testing::TempDir()));
}

TEST(MappedFileTest, ReleasedPagesKeepTheirBytes) {
  const std::string path = TempPath("released.bin");
  ASSERT_TRUE(WriteTextFile(path, std::string(100000, 'x')).ok());
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  (*file)->Release((*file)->bytes());
  EXPECT_EQ((*file)->bytes()[50000], 'x');
}

TEST(MappedFileTest, RefusesANamedPipeWithoutWaiting) {
  const std::string path = TempPath("pipe");
  unlink(path.c_str());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(path).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace narrow
