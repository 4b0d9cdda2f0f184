#include "validate/text.h"

#include <string>
#include <vector>

#include "formats/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

std::string WriteTemp(const std::string& name, const std::string& text) {
  const std::string path = JoinPath(::testing::TempDir(), name);
  EXPECT_TRUE(WriteTextFile(path, text).ok());
  return path;
}

TEST(ReadText, JoinsFilesInOrder) {
  const auto text =
      ReadText({WriteTemp("a.txt", "one\n"), WriteTemp("b.txt", "zwei ä")});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->text, "one\nzwei ä");
  EXPECT_TRUE(text->warnings.empty());
}

TEST(ReadText, RefusesAnEmptyFileByName) {
  const auto text =
      ReadText({WriteTemp("a.txt", "one"), WriteTemp("empty.txt", "")});
  EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(text.status().message()), HasSubstr("empty.txt"));
  EXPECT_FALSE(ReadText({"/no/such/file.txt"}).ok());
}

TEST(ReadText, WarnsOfBytesThatAreNotUtf8) {
  const auto text = ReadText({WriteTemp("cut.txt", "abc \xE2\x82")});
  ASSERT_TRUE(text.ok()) << text.status();
  ASSERT_EQ(text->warnings.size(), 1);
  EXPECT_THAT(text->warnings[0], HasSubstr("first at offset 4;"));
}

TEST(CheckSameTokens, NamesTheFirstDifferingId) {
  const std::vector<std::string> a = {"<s>", "x", "y", "z"};
  EXPECT_TRUE(CheckSameTokens(a, "A", a, "B").ok());
  const auto other = CheckSameTokens(a, "A", {{"<s>", "x", "\n", "w"}}, "B");
  EXPECT_EQ(other.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(other.message()),
              HasSubstr("token 2 is 'y' in A (4 tokens) and '\\n' in B (4 "
                        "tokens)"));
  const auto longer =
      CheckSameTokens(a, "A", {{"<s>", "x", "y", "z", "v"}}, "B");
  EXPECT_THAT(std::string(longer.message()),
              HasSubstr("token 4 is missing in A (4 tokens) and 'v' in B"));
}

}  // namespace
}  // namespace narrow
