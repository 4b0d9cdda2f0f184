#include "converter/commands/flags/page_flags.h"

#include <string>

#include "formats/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Temp(const std::string& name) {
  return JoinPath(::testing::TempDir(), name);
}

std::string ErrorOf(const PageFlags& flags) {
  const absl::Status status = CheckPageFlags(flags);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(PageFlags, PagesAreWrittenAndReplaced) {
  PageFlags flags;
  flags.html = Temp("report.html");
  flags.markdown = Temp("report.md");
  flags.title = "A release";
  ValidationReport report;
  report.original.path = "m";
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(CheckPageFlags(flags).ok()) << CheckPageFlags(flags);
    ASSERT_TRUE(WritePages(flags, report, {"narrow validate m"}).ok());
  }
  const std::string html = *ReadTextFile(flags.html, 1 << 20);
  EXPECT_THAT(html, HasSubstr("<title>A release</title>"));
  EXPECT_THAT(html, HasSubstr("narrow validate m"));
  EXPECT_THAT(*ReadTextFile(flags.markdown, 1 << 20),
              StartsWith("## A release\n"));
}

TEST(PageFlags, OtherFilesAreNotReplaced) {
  const std::string card = Temp("README.md");
  ASSERT_TRUE(WriteTextFile(card, "---\nlicense: mit\n").ok());
  PageFlags flags;
  flags.markdown = card;
  EXPECT_THAT(ErrorOf(flags), HasSubstr("would replace"));
  flags.markdown = "";
  flags.html = card;
  EXPECT_THAT(ErrorOf(flags), HasSubstr("would replace"));
  flags.html = "-";
  EXPECT_THAT(ErrorOf(flags), HasSubstr("name of a file"));
  flags.html = flags.markdown = Temp("same");
  EXPECT_THAT(ErrorOf(flags), HasSubstr("the same file"));
  flags = PageFlags();
  flags.title = "x";
  EXPECT_THAT(ErrorOf(flags), HasSubstr("--title"));
}

}  // namespace
}  // namespace narrow
