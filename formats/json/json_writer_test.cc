#include "formats/json/json_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "formats/json/json.h"

namespace narrow {
namespace {

TEST(JsonWriterTest, WritesCompactText) {
  JsonWriter json(JsonWriter::kCompact);
  json.BeginObject();
  json.Key("a").BeginArray().Integer(-1).Unsigned(~uint64_t{0}).EndArray();
  json.Key("b").BeginObject().EndObject();
  json.Key("c").Bool(true).Key("d").Null().Key("e").Number(0.1);
  json.EndObject();
  EXPECT_EQ(json.text(),
            R"({"a":[-1,18446744073709551615],"b":{},"c":true,"d":null,)"
            R"("e":0.1})");
}

TEST(JsonWriterTest, WritesIndentedText) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject().Key("a").BeginArray().Integer(1).Integer(2).EndArray();
  json.Key("b").BeginArray().EndArray().EndObject();
  EXPECT_EQ(json.text(), "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": []\n}");
}

TEST(JsonWriterTest, EscapesWhatMustBe) {
  JsonWriter json(JsonWriter::kCompact);
  json.String("q\" b\\ n\n t\t \x01 \xc3\xa9 \xf0\x9f\x98\x80");
  EXPECT_EQ(json.text(),
            "\"q\\\" b\\\\ n\\n t\\u0009 \\u0001 \xc3\xa9 "
            "\xf0\x9f\x98\x80\"");
}

TEST(JsonWriterTest, ReplacesBytesThatAreNotUtf8) {
  // Lone continuation, overlong slash, surrogate, beyond U+10FFFF, cut short.
  for (const char* bad :
       {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    JsonWriter json(JsonWriter::kCompact);
    json.String(bad);
    const auto doc = JsonDocument::Parse(json.text(), "written");
    ASSERT_TRUE(doc.ok()) << doc.status();
    EXPECT_EQ((*doc)->root().GetString()->substr(0, 3), "\xef\xbf\xbd");
  }
}

TEST(JsonWriterTest, DoublesReadBackExactly) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 10000; ++i) {
    const uint64_t bits = random();
    double value;
    static_assert(sizeof(value) == sizeof(bits));
    __builtin_memcpy(&value, &bits, sizeof(value));
    JsonWriter json(JsonWriter::kCompact);
    json.BeginArray().Number(value).EndArray();
    const auto doc = JsonDocument::Parse(json.text(), "written");
    ASSERT_TRUE(doc.ok()) << doc.status() << json.text();
    const JsonValue read = (*(*doc)->root().GetElements())[0];
    if (std::isfinite(value)) {
      EXPECT_EQ(*read.GetNumber(), value) << json.text();
    } else {
      EXPECT_TRUE(read.is_null());
    }
  }
}

TEST(JsonWriterTest, FloatsHaveTheirOwnShortestDigits) {
  JsonWriter json(JsonWriter::kCompact);
  json.BeginArray().Number(0.1f).Number(1e30f);
  json.Number(std::numeric_limits<float>::infinity()).EndArray();
  EXPECT_EQ(json.text(), "[0.1,1e+30,null]");
}

TEST(JsonWriter, RealsHaveAPointOrAnExponent) {
  JsonWriter json(JsonWriter::kCompact);
  json.BeginArray().Real(50).Real(-0.5f).Real(1e-6f).Real(1e30f);
  json.Real(std::numeric_limits<float>::quiet_NaN()).EndArray();
  EXPECT_EQ(json.text(), "[50.0,-0.5,1e-06,1e+30,null]");
}

}  // namespace
}  // namespace narrow
