#include "validate/tasks/records.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

RecordFile Parse(const std::string& text) {
  auto file = ParseRecords(text, "f");
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : RecordFile{"f", {}};
}

std::string ErrorOf(const std::string& text) {
  const auto file = ParseRecords(text, "dir/file.csv");
  EXPECT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(file.status().message());
}

std::vector<std::string> Texts(const Record& record) {
  std::vector<std::string> texts;
  for (const Field& field : record.fields()) {
    texts.push_back(field.texts[0]);
  }
  return texts;
}

TEST(Csv, FieldsWithCommasQuotesAndLineEnds) {
  const RecordFile file = Parse(
      "question,a,b\r\n"
      "\"one, \"\"two\"\"\",\"line\nend\",\r\n"
      "\r\n"
      "say \"hi\",\xc3\xa9,3");
  ASSERT_EQ(file.records.size(), 2u);
  EXPECT_THAT(Texts(file.records[0]),
              ElementsAre("one, \"two\"", "line\nend", ""));
  EXPECT_EQ(file.records[0].line(), 2);
  EXPECT_THAT(Texts(file.records[1]),
              ElementsAre("say \"hi\"", "\xc3\xa9", "3"));
  EXPECT_EQ(file.records[1].line(), 5);
  EXPECT_EQ(*file.records[1].Text("b"), "3");
}

TEST(Csv, WithoutHeaderColumnsAreNumbered) {
  const RecordFile file = Parse("\xef\xbb\xbfWhat is it?,a,b,c,d,B\n");
  ASSERT_EQ(file.records.size(), 1u);
  EXPECT_EQ(*file.records[0].Text("0"), "What is it?");
  EXPECT_EQ(*file.records[0].Text("5"), "B");
}

TEST(Csv, DamagedFilesAreRefusedWithLineAndFile) {
  EXPECT_THAT(ErrorOf("question,a\n\"x,1\ny,2\n"),
              AllOf(HasSubstr("quote that has no end"), HasSubstr("line 2"),
                    HasSubstr("dir/file.csv")));
  EXPECT_THAT(ErrorOf("question,a\nx,1\n\"y\"z,2\n"),
              AllOf(HasSubstr("closing quote"), HasSubstr("line 3")));
  EXPECT_THAT(
      ErrorOf("question,a\nx,1,2\n"),
      AllOf(HasSubstr("3 fields, the first one has 2"), HasSubstr("line 2")));
  EXPECT_THAT(ErrorOf("question,a\nx,\xff\xfe\n"),
              AllOf(HasSubstr("field 2 is not UTF-8"), HasSubstr("line 2")));
  EXPECT_THAT(ErrorOf("question,a\nx," + std::string(10 << 20, 'y') + "\n"),
              AllOf(HasSubstr("more than 1048576"), HasSubstr("line 2")));
  EXPECT_THAT(ErrorOf("question,a\nx,\"" + std::string(10 << 20, 'y')),
              HasSubstr("no end"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("no question in it"));
  EXPECT_THAT(ErrorOf("question,answer\n"), HasSubstr("no question in it"));
}

TEST(JsonLines, ObjectsAreTakenApart) {
  const RecordFile file = Parse(
      "\n{\"id\": 7, \"q\": {\"stem\": \"s\", \"choices\": "
      "[{\"text\": \"a\", \"label\": \"A\"}, {\"text\": \"b\", \"label\": "
      "\"B\"}]}, \"list\": [\"x\", 2], \"none\": null}\n"
      "{\"truth\": {\"yes. really\": 1, \"no\": 0}}\n");
  ASSERT_EQ(file.records.size(), 2u);
  const Record& record = file.records[0];
  EXPECT_EQ(record.line(), 2);
  EXPECT_EQ(*record.Text("id"), "7");
  EXPECT_EQ(*record.Text("q.stem"), "s");
  EXPECT_THAT(*record.List("q.choices.text"), ElementsAre("a", "b"));
  EXPECT_THAT(*record.List("q.choices.label"), ElementsAre("A", "B"));
  EXPECT_THAT(*record.List("list"), ElementsAre("x", "2"));
  EXPECT_FALSE(record.Has("none"));
  EXPECT_EQ(*record.Index("id", 8), 7);
  EXPECT_THAT(*file.records[1].List("truth.(keys)"),
              ElementsAre("yes. really", "no"));
  EXPECT_EQ(*file.records[1].Text("truth.yes. really"), "1");
}

TEST(JsonLines, MissingAndWrongFieldsNameLineAndFile) {
  const RecordFile file = Parse("{\"a\": [1], \"b\": \"x\", \"n\": 4}");
  const Record& record = file.records[0];
  EXPECT_THAT(std::string(record.Text("label").status().message()),
              AllOf(HasSubstr("no field 'label'"), HasSubstr("line 1"),
                    HasSubstr("reading f")));
  EXPECT_THAT(std::string(record.Text("a").status().message()),
              HasSubstr("is a list"));
  EXPECT_THAT(std::string(record.List("b").status().message()),
              HasSubstr("is no list"));
  EXPECT_THAT(std::string(record.Index("b", 4).status().message()),
              HasSubstr("'x'"));
  EXPECT_THAT(std::string(record.Index("n", 4).status().message()),
              AllOf(HasSubstr("choice 4"), HasSubstr("has 4")));
}

TEST(JsonLines, DamagedFilesAreRefused) {
  EXPECT_THAT(ErrorOf("{\"a\": 1}\n{\"a\": "),
              AllOf(HasSubstr("line 2"), HasSubstr("dir/file.csv")));
  EXPECT_THAT(ErrorOf("{\"a\": \"\xff\"}"), HasSubstr("line 1"));
  EXPECT_THAT(ErrorOf("{\"a\": 1}\n[1]\n"), HasSubstr("line 2"));
  EXPECT_THAT(ErrorOf("{\"a\": \"" + std::string(10 << 20, 'y') + "\"}"),
              AllOf(HasSubstr("more than 1048576"), HasSubstr("line 1")));
  std::string deep = "{\"a\": ";
  for (int i = 0; i < 20; ++i) {
    deep += "{\"b\": ";
  }
  deep += "1" + std::string(21, '}');
  EXPECT_THAT(ErrorOf(deep), HasSubstr("too many fields"));
  std::string wide = "{\"k0\": 0";
  for (int i = 1; i < 10000; ++i) {
    wide += ", \"k" + std::to_string(i) + "\": 0";
  }
  EXPECT_THAT(ErrorOf(wide + "}"), HasSubstr("too many fields"));
}

TEST(JsonArray, ElementsAreRecords) {
  const RecordFile file = Parse("[\n {\"a\": \"x\"},\n {\"a\": \"y\"}\n]\n");
  ASSERT_EQ(file.records.size(), 2u);
  EXPECT_EQ(*file.records[1].Text("a"), "y");
  EXPECT_EQ(file.records[1].line(), 2);
  EXPECT_THAT(ErrorOf("[{\"a\": 1}, 3]"), HasSubstr("JSON object"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("no question in it"));
}

TEST(Blocks, SixLinesAQuestion) {
  const RecordFile file =
      Parse("c\r\n3\r\na\r\nb\r\nc\r\nd\r\nC2\n0\n1\n2\n3\n4\n");
  ASSERT_EQ(file.records.size(), 2u);
  EXPECT_THAT(Texts(file.records[0]),
              ElementsAre("c", "3", "a", "b", "c", "d"));
  EXPECT_EQ(file.records[1].line(), 7);
  EXPECT_THAT(ErrorOf("c\n3\na\nb\nc\nd\nC2\n0\n"),
              AllOf(HasSubstr("the last one has 2"), HasSubstr("line 7")));
  EXPECT_THAT(ErrorOf("c\n3\na\nb\n\xff\nd\n"),
              AllOf(HasSubstr("not UTF-8"), HasSubstr("line 5")));
}

TEST(Records, CompressedFilesAreNamed) {
  EXPECT_THAT(ErrorOf("BZh91AY"), HasSubstr("bunzip2"));
  EXPECT_THAT(ErrorOf("\x1f\x8b\x08"), HasSubstr("gunzip"));
  EXPECT_THAT(ErrorOf("PAR1abc"), HasSubstr("Parquet"));
}

// Any byte flipped gives records or an error, never a crash.
TEST(Records, EveryFlippedByteIsSurvived) {
  for (const std::string& text :
       {std::string("question,a,b,answer\n\"x, \"\"y\"\"\",1,2,A\n"),
        std::string("{\"q\": {\"c\": [{\"t\": \"a\"}]}, \"l\": [1, 2]}\n"),
        std::string("[{\"a\": \"x\"}, {\"a\": null}]"),
        std::string("c\n3\na\nb\nc\nd\n")}) {
    for (size_t i = 0; i < text.size(); ++i) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string flipped = text;
        flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
        const auto file = ParseRecords(flipped, "f");
        EXPECT_TRUE(!file.ok() || !file->records.empty());
      }
    }
  }
}

}  // namespace
}  // namespace narrow
