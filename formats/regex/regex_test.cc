#include "formats/regex/regex.h"

#include <chrono>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

std::vector<std::string> Matches(absl::string_view pattern,
                                 const std::string& text) {
  const auto regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  std::vector<std::string> found;
  if (!regex.ok()) return found;
  Regex::Scratch scratch;
  regex->ForEachMatch(text, &scratch, [&](size_t start, size_t end) {
    found.push_back(text.substr(start, end - start));
  });
  return found;
}

using Words = std::vector<std::string>;

TEST(RegexTest, TakesTheFirstAlternativeThatMatches) {
  EXPECT_EQ(Matches("a|ab", "ab"), Words({"a"}));
  EXPECT_EQ(Matches("(?:a|ab)c", "abc"), Words({"abc"}));
}

TEST(RegexTest, QuantifiersAreGreedyLazyOrPossessive) {
  EXPECT_EQ(Matches("a{2,3}", "aaaaa"), Words({"aaa", "aa"}));
  EXPECT_EQ(Matches("a{2,3}?", "aaaaa"), Words({"aa", "aa"}));
  EXPECT_EQ(Matches("a*ab", "aaab"), Words({"aaab"}));
  EXPECT_EQ(Matches("a*+ab|b", "aaab"), Words({"b"}));
  EXPECT_EQ(Matches("a{,2}b", "aaab"), Words({"aab"}));
  EXPECT_EQ(Matches("a{x}", "a{x}"), Words({"a{x}"}));
}

TEST(RegexTest, WhiteSpaceLeavesTheLastForTheNextWord) {
  EXPECT_EQ(Matches(" ?\\S+|\\s+(?!\\S)|\\s+", "a   b \n"),
            Words({"a", "  ", " b", " \n"}));
}

TEST(RegexTest, LooksBehindAndAhead) {
  EXPECT_EQ(Matches("(?<=a)b|(?<!\\d)\\d(?=x)", "abcb 1x 12x"),
            Words({"b", "1"}));
  EXPECT_EQ(Matches("(?<!a|bc)d", "ad bcd xd"), Words({"d"}));
}

TEST(RegexTest, ClassesNestIntersectAndNegate) {
  EXPECT_EQ(Matches("[a-z&&[^aeiou]]+", "hello"), Words({"h", "ll"}));
  EXPECT_EQ(Matches("[^\\s\\p{L}]+", "ab1! é"), Words({"1!"}));
  EXPECT_EQ(Matches("\\p{^L}|\\P{N}", "1a"), Words({"1", "a"}));
  EXPECT_EQ(Matches("[[:punct:]]", "a$.b"), Words({"$", "."}));
}

TEST(RegexTest, CaseIsIgnoredWhereAsked) {
  EXPECT_EQ(Matches("(?i:'s)|S", "'S 'ſ S s"), Words({"'S", "'ſ", "S"}));
  EXPECT_EQ(Matches("(?i)k(?-i)a", "Ka KA"), Words({"Ka"}));
}

TEST(RegexTest, AnchorsAreOfLinesAsInRuby) {
  EXPECT_EQ(Matches("^.|.$", "ab\ncd"), Words({"a", "b", "c", "d"}));
  EXPECT_EQ(Matches("\\A.|.\\z", "ab\ncd"), Words({"a", "d"}));
}

TEST(RegexTest, EmptyMatchesMarkPlaces) {
  EXPECT_EQ(Matches("(?=b)", "abb"), Words({"", ""}));
  EXPECT_EQ(Matches("x*", "axb").size(), 3u);
}

TEST(RegexTest, BacktrackingIsBounded) {
  const std::string text = std::string(400, ' ') + "x";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(Matches("(?:\\s*|y*)*z", text).empty());
  EXPECT_TRUE(Matches("(?:a+)+b", std::string(100, 'a')).empty());
  const std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 60);
}

TEST(RegexTest, RefusesWhatItLacksByName) {
  for (const char* pattern : {"(a)\\1", "a\\K", "\\X", "(?<=a+)b", "(?a)"}) {
    const auto regex = Regex::Compile(pattern);
    EXPECT_EQ(regex.status().code(), absl::StatusCode::kUnimplemented)
        << pattern << " " << regex.status();
  }
}

TEST(RegexTest, RefusesWhatIsNoPattern) {
  for (const char* pattern :
       {"(a", "a)", "[a", "*", "a{3,2}", "\\p{Nope}", "[b-a]", "(?<n", "\\",
        "\\x{110000}", "(?i", "[[:alpha:", "\xff"}) {
    const auto regex = Regex::Compile(pattern);
    EXPECT_EQ(regex.status().code(), absl::StatusCode::kInvalidArgument)
        << pattern << " " << regex.status();
    EXPECT_TRUE(absl::StrContains(regex.status().message(), "regular"));
  }
}

TEST(RegexTest, RefusesNestingAndRepetitionOutOfBounds) {
  EXPECT_FALSE(Regex::Compile(std::string(5000, '(')).ok());
  EXPECT_FALSE(Regex::Compile(std::string(5000, '[')).ok());
  EXPECT_FALSE(Regex::Compile("(?:(?:ab){9999}){9999}").ok());
}

}  // namespace
}  // namespace narrow
