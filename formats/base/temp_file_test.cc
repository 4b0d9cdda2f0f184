#include "formats/base/temp_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace narrow {
namespace {

TEST(TempFileTest, GivesBackWhatWasWrittenAndLeavesNoName) {
  const std::string folder = testing::TempDir() + "/temp_file_test";
  std::filesystem::create_directory(folder);
  auto file = TempFile::Create(folder);
  ASSERT_TRUE(file.ok()) << file.status();
  const std::vector<uint8_t> a = {1, 2, 3}, b = {9, 8};
  ASSERT_TRUE((*file)->WriteAt(100, a).ok());
  ASSERT_TRUE((*file)->WriteAt(5, b).ok());
  std::vector<uint8_t> read(3);
  ASSERT_TRUE((*file)->ReadAt(100, absl::MakeSpan(read)).ok());
  EXPECT_EQ(read, a);
  ASSERT_TRUE((*file)->ReadAt(5, absl::MakeSpan(read)).ok());
  EXPECT_EQ(read, std::vector<uint8_t>({9, 8, 0}));
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  EXPECT_EQ((*file)->ReadAt(101, absl::MakeSpan(read)).code(),
            absl::StatusCode::kDataLoss);
}

TEST(TempFileTest, NamesAFolderThatIsNotThere) {
  const auto file = TempFile::Create("/no/such/folder");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(file.status().message().find("/no/such/folder"),
            absl::string_view::npos);
  ASSERT_TRUE(TempFile::Create("").ok());
}

}  // namespace
}  // namespace narrow
