#include "formats/json/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"

namespace narrow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::unique_ptr<const JsonDocument> MustParse(absl::string_view text) {
  auto document = JsonDocument::Parse(text, "test.json");
  EXPECT_TRUE(document.ok()) << document.status();
  return document.ok() ? *std::move(document) : nullptr;
}

std::string ParseMessage(absl::string_view text) {
  const auto document = JsonDocument::Parse(text, "test.json");
  EXPECT_EQ(document.status().code(), absl::StatusCode::kDataLoss) << text;
  return std::string(document.status().message());
}

TEST(JsonTest, ReadsEveryType) {
  const auto doc = MustParse(
      R"({"s": "a\u00e9\n", "i": -7, "d": 1.5e3, "t": true, "n": null,
          "a": [1, [2]], "o": {"b": 1, "a": 2}})");
  const JsonValue root = doc->root();
  EXPECT_EQ(*root.Get("s")->GetString(), "a\xc3\xa9\n");
  EXPECT_EQ(*root.Get("i")->GetInteger(), -7);
  EXPECT_EQ(*root.Get("i")->GetNumber(), -7.0);
  EXPECT_EQ(*root.Get("d")->GetNumber(), 1500.0);
  EXPECT_TRUE(*root.Get("t")->GetBool());
  EXPECT_TRUE(root.Find("n")->is_null());
  EXPECT_FALSE(root.FindNonNull("n").has_value());
  EXPECT_FALSE(root.Find("missing").has_value());
  EXPECT_EQ(root.Get("a")->GetElements()->size(), 2u);
}

TEST(JsonTest, KeepsTheOrderOfMembers) {
  const auto doc = MustParse(R"({"z": 1, "a": 2, "m": 3})");
  const auto members = doc->root().GetMembers();
  ASSERT_TRUE(members.ok());
  ASSERT_EQ(members->size(), 3u);
  EXPECT_EQ((*members)[0].first, "z");
  EXPECT_EQ((*members)[1].first, "a");
  EXPECT_EQ((*members)[2].first, "m");
}

TEST(JsonTest, RepeatedKeysGiveTheLastAndAreFound) {
  const auto doc = MustParse(R"({"a": 1, "b": 2, "a": 3, "c": {"b": 1}})");
  EXPECT_EQ(*doc->root().Get("a")->GetInteger(), 3);
  EXPECT_EQ(doc->root().FindRepeatedKey().value_or(""), "a");
  EXPECT_FALSE(doc->root().Get("c")->FindRepeatedKey().has_value());
}

TEST(JsonTest, WrongTypesNameThePathAndTheFile) {
  const auto doc = MustParse(R"({"m": {"list": [0, {"x": "text"}]}})");
  const JsonValue x =
      *(*doc->root().Get("m")->Get("list")->GetElements())[1].Get("x");
  EXPECT_EQ(x.GetInteger().status().message(),
            "expected an integer, found a string; at m.list[1].x; reading "
            "test.json");
  EXPECT_EQ(doc->root().Get("nope").status().message(),
            "key 'nope' is missing; at the top; reading test.json");
  EXPECT_EQ(doc->root().GetString().status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(JsonTest, DoublesAndLargeIntegersAreNotIntegers) {
  const auto doc = MustParse(
      R"([1.0, 18446744073709551615, 9223372036854775807,
          1000000000000000019884624838656, -9223372036854775809])");
  const auto values = doc->root().GetElements();
  ASSERT_TRUE(values.ok());
  EXPECT_FALSE((*values)[0].GetInteger().ok());
  EXPECT_FALSE((*values)[1].GetInteger().ok());
  EXPECT_EQ(*(*values)[1].GetNumber(), 0x1p64);
  EXPECT_EQ(*(*values)[2].GetInteger(), INT64_MAX);
  // The model_max_length of many a tokenizer_config.json.
  EXPECT_FALSE((*values)[3].is_integer());
  EXPECT_EQ(*(*values)[3].GetNumber(), 1e30);
  EXPECT_EQ(*(*values)[4].GetNumber(), -0x1p63);
}

TEST(JsonTest, PythonsNonNumbersAreNull) {
  const auto doc =
      MustParse(R"({"a": [NaN, Infinity, -Infinity], "b": "NaN"})");
  const auto values = doc->root().Get("a")->GetElements();
  for (const JsonValue& value : *values) {
    EXPECT_TRUE(value.is_null());
  }
  EXPECT_EQ(*doc->root().Get("b")->GetString(), "NaN");
}

TEST(JsonTest, ErrorsGiveThePlace) {
  EXPECT_THAT(ParseMessage("{\n  \"a\": 1,\n  \"b\" 2\n}"),
              AllOf(HasSubstr("expected ':' after a key"),
                    HasSubstr("line 3, column 7"), HasSubstr("test.json")));
  EXPECT_THAT(ParseMessage("[1, 2"), HasSubstr("ends inside"));
  EXPECT_THAT(ParseMessage("[1 2]"), HasSubstr("expected ',' or ']'"));
  EXPECT_THAT(ParseMessage("{\"a\": 1,}"), HasSubstr("expected a key"));
  EXPECT_THAT(ParseMessage("[1,]"), HasSubstr("expected a value"));
  EXPECT_THAT(ParseMessage("{1: 2}"), HasSubstr("key in quotes"));
  EXPECT_THAT(ParseMessage("[\"abc]"), HasSubstr("closing quote"));
  EXPECT_THAT(ParseMessage("[\"a\nb\"]"), HasSubstr("control character"));
  EXPECT_THAT(ParseMessage("[1-2]"), HasSubstr("bad number '1-2'"));
  EXPECT_THAT(ParseMessage("[maybe]"), HasSubstr("expected a value"));
  EXPECT_THAT(ParseMessage("{} {}"), HasSubstr("after the end"));
  EXPECT_THAT(ParseMessage(""), HasSubstr("value must be"));
  EXPECT_THAT(ParseMessage("[\"\xff\"]"),
              AllOf(HasSubstr("UTF-8"), HasSubstr("line 1, column 3")));
}

TEST(JsonTest, AnEmptyFileIsDataLoss) {
  const std::string path = JoinPath(::testing::TempDir(), "empty.json");
  ASSERT_TRUE(WriteTextFile(path, "").ok());
  EXPECT_EQ(JsonDocument::ReadFile(path).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(JsonTest, BadNumbersAndEscapesHaveAPlaceToo) {
  for (const char* bad : {"01", "1.", ".5", "+1", "-", "1e", "0x10", "1.e5"}) {
    EXPECT_THAT(ParseMessage(absl::StrCat("[", bad, "]")),
                HasSubstr("line 1, column 2"))
        << bad;
  }
  EXPECT_THAT(ParseMessage("[1e400]"), HasSubstr("range of a double"));
  for (const char* bad : {"\\q", "\\u12", "\\u12g4", "\\ud800",
                          "\\ud800\\u0041", "\\udc00", "\\u"}) {
    EXPECT_THAT(ParseMessage(absl::StrCat("[\"x", bad, "\"]")),
                AllOf(HasSubstr("bad escape"), HasSubstr("column 4")))
        << bad;
  }
  EXPECT_EQ(*MustParse(R"("\ud83d\ude00\u0041\/\b")")->root().GetString(),
            "\xf0\x9f\x98\x80"
            "A/\b");
}

TEST(JsonTest, KnowsGitLfsPointers) {
  EXPECT_THAT(
      ParseMessage("version https://git-lfs.github.com/spec/v1\noid 0\n"),
      HasSubstr("git lfs pull"));
}

TEST(JsonTest, DepthIsLimited) {
  JsonDocument::Limits limits;
  limits.max_depth = 5;
  EXPECT_TRUE(JsonDocument::Parse("[[[[[1]]]]]", "f", limits).ok());
  const auto deep = JsonDocument::Parse("[[[[[[1]]]]]]", "f", limits);
  EXPECT_EQ(deep.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(deep.status().message()),
              HasSubstr("deeper than 5 levels"));
  const std::string bottomless(1 << 20, '[');
  EXPECT_FALSE(JsonDocument::Parse(bottomless, "f").ok());
}

TEST(JsonTest, SizeIsLimited) {
  JsonDocument::Limits limits;
  limits.max_bytes = 10;
  const auto large = JsonDocument::Parse("[1, 2, 3, 4]", "f", limits);
  EXPECT_EQ(large.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(JsonTest, ReadsFilesAndNamesMissingOnes) {
  const std::string path = JoinPath(::testing::TempDir(), "read.json");
  ASSERT_TRUE(WriteTextFile(path, R"({"a": [1]})").ok());
  const auto doc = JsonDocument::ReadFile(path);
  ASSERT_TRUE(doc.ok()) << doc.status();
  EXPECT_EQ((*doc)->file(), path);
  EXPECT_EQ(JsonDocument::ReadFile(path + "x").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(JsonTest, DamagedTextNeverCrashes) {
  const std::string good =
      R"({"a": [1, -2.5e3, "x\u0041\ud83d\ude00"], "b": {"c": null},)"
      R"( "d": 1000000000000000019884624838656, "e": NaN})";
  ASSERT_TRUE(JsonDocument::Parse(good, "f").ok());
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_FALSE(JsonDocument::Parse(good.substr(0, n), "f").ok()) << n;
  }
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    std::string bad = good;
    for (int k = 0; k < 1 + i % 3; ++k) {
      bad[random() % bad.size()] = static_cast<char>(random());
    }
    const auto doc = JsonDocument::Parse(bad, "f");
    if (doc.ok()) {
      EXPECT_FALSE((*doc)->root().Error("seen").ok());
    }
  }
}

}  // namespace
}  // namespace narrow
