#include "formats/base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace narrow {
namespace {

using ::testing::HasSubstr;

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

TEST(OutputFileTest, FindsAFullDiskBeforeWork) {
  const std::string path = TempPath("huge.bin");
  auto file = OutputFile::Create(path, int64_t{1} << 55);
  EXPECT_EQ(file.status().code(), absl::StatusCode::kResourceExhausted)
      << file.status();
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
