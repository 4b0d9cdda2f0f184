#include "calibration/text/text_kind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "calibration/text/json_lines.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

TEST(JsonLinesTest, NumbersLinesAndPassesOverBlankOnes) {
  JsonLines lines("\xef\xbb\xbf{\"a\":1}\r\n\n  \t\n{\"a\":2}\n{\"a\":3}", "f");
  std::vector<int64_t> numbers, values;
  while (lines.Next()) {
    numbers.push_back(lines.number());
    const auto document = lines.Parse();
    ASSERT_TRUE(document.ok()) << document.status();
    values.push_back(*(*document)->root().Find("a")->GetInteger());
  }
  EXPECT_EQ(numbers, std::vector<int64_t>({1, 4, 5}));
  EXPECT_EQ(values, std::vector<int64_t>({1, 2, 3}));
}

TEST(JsonLinesTest, ErrorsNameLineAndFile) {
  for (const char* bad : {"x", "[1]", "\"text\"", "{\"a\":}", "{\"a\":1",
                          "{\"a\":\"\xff\"}", "{\"a\":1} {\"b\":2}"}) {
    const std::string text = std::string("{}\n") + bad + "\n";
    JsonLines kept(text, "data.jsonl");
    ASSERT_TRUE(kept.Next());
    EXPECT_TRUE(kept.Parse().ok());
    ASSERT_TRUE(kept.Next());
    const auto document = kept.Parse();
    EXPECT_EQ(document.status().code(), absl::StatusCode::kInvalidArgument)
        << bad;
    EXPECT_THAT(std::string(document.status().message()), HasSubstr("line 2"))
        << bad;
    EXPECT_THAT(std::string(document.status().message()),
                HasSubstr("data.jsonl"))
        << bad;
  }
}

TEST(TextKindTest, GoesByTheFirstLine) {
  const auto kind = [](const char* bytes, const char* field = "",
                       const char* path = "data") {
    auto result = DetectKind(bytes, path, field);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : TextKind::kAuto;
  };
  EXPECT_EQ(kind("Once upon a time\n{\"text\":\"a\"}"), TextKind::kPlain);
  EXPECT_EQ(kind("\n\n"), TextKind::kPlain);
  EXPECT_EQ(kind("{ this is no JSON }\n"), TextKind::kPlain);
  EXPECT_EQ(kind("\n{\"text\":\"a\"}\n"), TextKind::kJsonl);
  EXPECT_EQ(kind("{\"messages\":[]}\n"), TextKind::kChat);
  EXPECT_EQ(kind("{\"text\":\"a\",\"messages\":[]}\n"), TextKind::kChat);
  EXPECT_EQ(kind("{\"x\":\"a\",\"messages\":[]}\n", "x"), TextKind::kJsonl);
  EXPECT_EQ(kind("{\"x\":[]}\n", "x"), TextKind::kChat);

  const auto error = [](const char* bytes, const char* field,
                        const char* path) {
    const auto result = DetectKind(bytes, path, field);
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(result.status().message());
  };
  EXPECT_THAT(error("\n{\"prompt\":\"a\"}", "", "d"),
              HasSubstr("neither a text \"text\" nor a list \"messages\"; name "
                        "the field to read; line 2; reading d"));
  EXPECT_THAT(error("{\"prompt\":\"a\"}", "x", "d"),
              HasSubstr("field 'x' is missing"));
  EXPECT_THAT(error("{\"x\":3}", "x", "d"),
              HasSubstr("field 'x' is neither a text nor a list"));
  EXPECT_THAT(error("[{\"text\":\"a\"}]", "", "d.json"),
              HasSubstr("a JSON object a line"));
}

}  // namespace
}  // namespace narrow
