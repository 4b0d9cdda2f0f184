#include "formats/hf/model_card.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

std::string Text(const YamlValue& value) {
  switch (value.kind) {
    case YamlValue::Kind::kNull:
      return "null";
    case YamlValue::Kind::kString:
      return absl::StrCat("\"", value.text, "\"");
    case YamlValue::Kind::kOther:
      return value.text;
    case YamlValue::Kind::kList: {
      std::string text = "[";
      for (const YamlValue& item : value.items) {
        absl::StrAppend(&text, Text(item), ",");
      }
      return text + "]";
    }
    case YamlValue::Kind::kMap: {
      std::string text = "{";
      for (const auto& [key, member] : value.members) {
        absl::StrAppend(&text, key, ":", Text(member), ",");
      }
      return text + "}";
    }
  }
  return "";
}

std::string Parse(const std::string& head) {
  return Text(ParseModelCard(absl::StrCat("---\n", head, "\n---\n# Model\n")));
}

struct CardCase {
  const char* head;
  const char* parsed;
};

// As PyYAML's safe_load understands them.
constexpr CardCase kCards[] = {
    {"a: b", "{a:\"b\",}"},
    {"a: b # c", "{a:\"b\",}"},
    {"a: b#c", "{a:\"b#c\",}"},
    {"a: http://x:80/y", "{a:\"http://x:80/y\",}"},
    {"a:\nb: ~\nc: null", "{a:null,b:null,c:null,}"},
    {"a: 1\nb: 1.5\nc: yes\nd: 2024-01-02\ne: 1e5\nf: v1\ng: 7B",
     "{a:1,b:1.5,c:yes,d:2024-01-02,e:\"1e5\",f:\"v1\",g:\"7B\",}"},
    {"a:\n- x\n- y: 1\n  z: 2\n-\n  - w", "{a:[\"x\",{y:1,z:2,},[\"w\",],],}"},
    {"a:\n  - x\n  - no\nb: no", "{a:[\"x\",\"no\",],b:no,}"},
    {"a: [x, 'y, z', {k: v, l: [1, 2]}]",
     "{a:[\"x\",\"y, z\",{k:\"v\",l:[1,2,],},],}"},
    {"a: [x,\n  y]\nb: 1", "{a:[\"x\",\"y\",],b:1,}"},
    {"a: 'it''s'\nb: \"q\\\"\\u00e9\\n\"", "{a:\"it's\",b:\"q\"\xc3\xa9\n\",}"},
    {"a: one\n  two\n\n  three\nb: 1", "{a:\"one two\nthree\",b:1,}"},
    {"a: \"one\n  two\\\n  three\"\nb: 1", "{a:\"one twothree\",b:1,}"},
    {"a: |\n  one\n    two\n\n  three\n\nb: 1",
     "{a:\"one\n  two\n\nthree\n\",b:1,}"},
    {"a: >-\n  one\n  two\n\n  three\nb: 1", "{a:\"one two\nthree\",b:1,}"},
    {"\"a b\": 1\n'c': 2", "{a b:1,c:2,}"},
    {"# only a comment\na: b", "{a:\"b\",}"},
    {"a: b\na: c", "{a:\"b\",a:\"c\",}"},
    {"{a: b}", "{a:\"b\",}"},
};

TEST(ModelCard, ReadsWhatCardsAreMadeOf) {
  for (const CardCase& c : kCards) {
    EXPECT_EQ(Parse(c.head), c.parsed) << c.head;
  }
}

TEST(ModelCard, WhatItCannotReadCountsAsNone) {
  for (const char* head :
       {"a: &x b\nc: *x", "a: !!str 1", "- a\n- b", "a", "a: \"b", "a: [b",
        "a: b: c", "a: b\n  c: d", "a:\n    b: 1\n  c: 2", "? a\n: b",
        "a: 'b' c", "a: }", "\"", "a: [b}", "a: \"\\q\""}) {
    EXPECT_EQ(Parse(head), "null") << head;
  }
  EXPECT_EQ(Text(ParseModelCard("")), "null");
  EXPECT_EQ(Text(ParseModelCard("# title\n---\na: b\n---\n")), "null");
  EXPECT_EQ(Text(ParseModelCard("---")), "null");
  // A bomb of brackets ends in a refusal, not in a full stack.
  EXPECT_EQ(Parse("a: " + std::string(100000, '[')), "null");
  EXPECT_EQ(Parse("a:\n" + std::string(3, ' ') +
                  [] {
                    std::string dashes;
                    for (int i = 0; i < 10000; ++i) {
                      dashes += "- ";
                    }
                    return dashes;
                  }()),
            "null");
}

TEST(ModelCard, LastOfRepeatedKeysCounts) {
  const YamlValue card = ParseModelCard("---\na: b\na: c\n---\n");
  ASSERT_NE(card.Find("a"), nullptr);
  EXPECT_EQ(card.Find("a")->text, "c");
  EXPECT_EQ(card.Find("b"), nullptr);
}

TEST(ModelCard, NoCutOfACardCrashes) {
  std::string all = "---\n";
  for (const CardCase& c : kCards) {
    absl::StrAppend(&all, c.head, "\n");
  }
  for (size_t n = 0; n <= all.size(); ++n) {
    ParseModelCard(all.substr(0, n));
    ParseModelCard(absl::StrCat("---\n", all.substr(n)));
  }
}

}  // namespace
}  // namespace narrow
