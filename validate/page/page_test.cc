#include "validate/page/page.h"

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "validate/page/escape.h"
#include "validate/page/example_report.h"
#include "validate/page/names.h"
#include "validate/page/page_table.h"
#include "validate/page/pictures/place_labels.h"
#include "validate/page/pictures/scale.h"

namespace narrow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::vector<std::string>& Files() {
  static const auto& files = *new std::vector<std::string>{
      "out/gemma-Q8_0.gguf",   "out/gemma-Q6_K.gguf",   "out/gemma-Q5_K_M.gguf",
      "out/gemma-Q4_K_M.gguf", "out/gemma-IQ4_XS.gguf", "out/gemma-Q3_K_M.gguf",
      "out/gemma-Q2_K.gguf"};
  return files;
}

PageOptions Commands() {
  PageOptions options;
  options.commands = {
      "narrow convert gemma-3-270m --to Q8_0,Q4_K_M --output out/",
      "narrow validate gemma-3-270m out/*.gguf --text wiki=wiki.test.raw "
      "--max-kld 0.05 --html report.html"};
  return options;
}

// For looking at, where the test runner keeps such files.
void Keep(const std::string& name, const std::string& text) {
  if (const char* folder = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR")) {
    EXPECT_TRUE(WriteTextFile(JoinPath(folder, name), text).ok());
  }
}

int Count(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + part.size())) {
    ++n;
  }
  return n;
}

// Tags that are opened are closed, in order, and nothing else looks like one.
void ExpectWellFormed(const std::string& html) {
  std::vector<std::string> open;
  const size_t body = html.find("<body>");
  for (size_t at = html.find('<', body); at != std::string::npos;
       at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    ASSERT_NE(end, std::string::npos);
    std::string tag = html.substr(at + 1, end - at - 1);
    const bool self_closed = tag.back() == '/';
    tag = tag.substr(0, tag.find(' '));
    if (tag[0] == '/') {
      ASSERT_FALSE(open.empty()) << tag;
      EXPECT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (!self_closed) {
      open.push_back(tag);
    }
  }
  EXPECT_THAT(open, ElementsAre("body", "html")) << "left open";
}

TEST(Page, HasEverythingAndNoNetwork) {
  const ValidationReport report = ExampleReport(Files(), true);
  const std::string html = RenderPage(report, Commands());
  Keep("page.html", html);
  for (const char* part :
       {"Size and KL divergence", "Size and perplexity",
        "Error of the weights by layer", "By text", "Tasks", "Gate",
        "To make it again", "narrow convert gemma-3-270m", "Q4_K_M",
        "prefers-color-scheme: dark", "acc_norm", "original 14.243",
        "0.000480 ± 0.000023"}) {
    EXPECT_THAT(html, HasSubstr(part));
  }
  // Nothing is fetched and nothing is run.
  for (const char* part : {"http:", "https:", "src=", "href=", "url(",
                           "@import", "<script", "<img", "<link"}) {
    EXPECT_THAT(html, Not(HasSubstr(part)));
  }
  EXPECT_EQ(Count(html, "<svg viewBox=\"0 0 420 310\""), 3);
  // Every candidate is labelled in both scatter plots.
  EXPECT_EQ(Count(html, "class=\"label\""), 14);
  EXPECT_EQ(RenderPage(report, Commands()), html);
}

TEST(Page, TagsAreClosed) {
  std::string html = RenderPage(ExampleReport(Files(), true), Commands());
  html = html.substr(0, html.rfind("</body>"));
  html.insert(html.find("<body>"), "<html>");
  std::string body = html.substr(html.find("<html>"));
  ExpectWellFormed("<body>" + body.substr(body.find("<body>") + 6) + "<html>");
}

// Names that try to be markup, to run, to turn the line around, and that are
// not text at all.
TEST(Page, HostileNamesAreText) {
  const std::vector<std::string> names = {
      "x/</title><script>alert(1)</script>.gguf",
      "x/\"onload=\"alert(1)\" \xe2\x80\xae"
      "FFUG.gguf",
      "x/a|b`c\nd[e](f)\x01\xff.gguf", "x/" + std::string(300, 'W') + ".gguf"};
  const ValidationReport report = ExampleReport(names, true);
  PageOptions options;
  options.commands = {"narrow validate 'a</pre><b>```\n````x'"};
  const std::string html = RenderPage(report, options);
  Keep("hostile.html", html);
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("\"onload")));
  EXPECT_THAT(html, Not(HasSubstr("\xe2\x80\xae")));
  EXPECT_THAT(html, Not(HasSubstr("\x01")));
  EXPECT_THAT(html, Not(HasSubstr("\xff")));
  EXPECT_EQ(Count(html, "</pre>"), 1);
  const std::string markdown = RenderMarkdown(report, options);
  Keep("hostile.md", markdown);
  EXPECT_THAT(markdown, Not(HasSubstr("<script")));
  EXPECT_THAT(markdown, HasSubstr("\n`````\nnarrow validate"));
  // A name does not add cells to a table.
  EXPECT_THAT(markdown, HasSubstr("a\\|b\\`c"));
}

TEST(Page, SanityFindingsAreShown) {
  ValidationReport report = ExampleReport(Files(), true);
  EXPECT_THAT(RenderPage(report, {}), Not(HasSubstr("<h2>Sanity</h2>")));
  report.candidates[0].sanity.emplace().n_tensors = 42;
  SanityReport& sanity = report.candidates[1].sanity.emplace();
  sanity.findings.push_back({SanitySeverity::kError, "tokenizer", "<bos>",
                             "has another type", "control", "normal"});
  for (int i = 0; i < 60; ++i) {
    sanity.findings.push_back(
        {SanitySeverity::kNote, "tensors", "blk", "is larger", "", ""});
  }
  const std::string html = RenderPage(report, {});
  for (const char* part :
       {"<h2>Sanity</h2>", "42 tensors", "&lt;bos&gt;", "has another type",
        "<td class=\"fail\">error</td>", "and 11 more"}) {
    EXPECT_THAT(html, HasSubstr(part));
  }
  const std::string markdown = RenderMarkdown(report, {});
  EXPECT_THAT(markdown, HasSubstr("### Sanity"));
  EXPECT_THAT(markdown, HasSubstr("has another type"));
}

TEST(Page, OneModelOnTasksAloneHasNoPictures) {
  ValidationReport report = ExampleReport({}, false);
  report.domains.clear();
  const std::string html = RenderPage(report, {});
  Keep("tasks.html", html);
  EXPECT_THAT(html, Not(HasSubstr("<svg")));
  EXPECT_THAT(html, HasSubstr("37.50"));
  EXPECT_THAT(html, Not(HasSubstr("To make it again")));
}

TEST(Page, UnknownNumbersAreNotDrawn) {
  ValidationReport report = ExampleReport(Files(), false);
  report.candidates[0].overall->divergence.value = NAN;
  report.candidates[1].overall->divergence.low = NAN;
  report.candidates[2].overall->divergence.value = 0;
  report.candidates[3].weights->rescaled = true;
  report.candidates[4].weights->layers.clear();
  const std::string html = RenderPage(report, {});
  EXPECT_THAT(html, Not(HasSubstr("\"nan\"")));
  EXPECT_THAT(html, Not(HasSubstr("=\"nan")));
  EXPECT_THAT(html, Not(HasSubstr("inf\"")));
  EXPECT_THAT(html, HasSubstr("Q4_K_M has scales moved"));
}

TEST(Page, BoundsThatAreNotKnownYetAreInfinite) {
  ValidationReport report = ExampleReport(Files(), true);
  report.candidates[0].criteria[0].pass_bound = INFINITY;
  EXPECT_THAT(RenderPage(report, {}), HasSubstr("… ∞"));
}

TEST(Page, ManyCandidatesKeepTheirLabelsApart) {
  std::vector<std::string> names;
  for (int i = 0; i < 24; ++i) {
    names.push_back(absl::StrCat("gemma-3-270m-it-IQ", i, "_XXS-custom.gguf"));
  }
  const std::string html = RenderPage(ExampleReport(names, false), {});
  Keep("many.html", html);
  EXPECT_GE(Count(html, "class=\"label\""), 24);
}

TEST(Markdown, HasTablesAndCommands) {
  const std::string text =
      RenderMarkdown(ExampleReport(Files(), true), Commands());
  Keep("card.md", text);
  EXPECT_THAT(text, HasSubstr("| `Q4_K_M` |"));
  EXPECT_THAT(text, HasSubstr("❌ fail"));
  EXPECT_THAT(text, HasSubstr("```\nnarrow convert"));
  // Each line of a table has as many cells as its head.
  size_t cells = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.empty() || line[0] != '|') {
      cells = 0;
      continue;
    }
    const size_t n = static_cast<size_t>(Count(line, "|")) -
                     static_cast<size_t>(Count(line, "\\|"));
    EXPECT_TRUE(cells == 0 || n == cells) << line;
    cells = n;
  }
}

TEST(PlaceLabels, NoneCoversAnother) {
  std::vector<LabelledPoint> points;
  for (int i = 0; i < 20; ++i) {
    points.push_back({100.0 + 12 * (i % 5), 100.0 + 9 * (i / 5), 45, 13});
  }
  const Box bounds = {0, 0, 400, 300};
  const Box obstacle = {150, 60, 300, 80};
  const auto places = PlaceLabels(points, {obstacle}, bounds);
  int n_shown = 0;
  int n_covering = 0;
  for (size_t i = 0; i < places.size(); ++i) {
    if (!places[i].shown) {
      continue;
    }
    ++n_shown;
    n_covering += places[i].box.Overlaps(obstacle);
    EXPECT_TRUE(bounds.Contains(places[i].box));
    for (size_t k = 0; k < places.size(); ++k) {
      if (k != i && places[k].shown) {
        EXPECT_FALSE(places[i].box.Overlaps(places[k].box)) << i << " " << k;
      }
      EXPECT_FALSE(places[i].box.Overlaps(
          {points[k].x - 4, points[k].y - 4, points[k].x + 4, points[k].y + 4}))
          << i << " " << k;
    }
  }
  EXPECT_GE(n_shown, 14);
  EXPECT_LE(n_covering, 4);
}

std::vector<std::string> Labels(const Scale& scale) {
  std::vector<std::string> labels;
  for (const Tick& tick : scale.ticks()) {
    labels.push_back(tick.label);
  }
  return labels;
}

TEST(Scale, RoundEndsAndLabels) {
  const Scale linear = Scale::Fit({13.9, 18.2}, Scale::kLinear, 0, 100);
  EXPECT_THAT(Labels(linear),
              ElementsAre("13", "14", "15", "16", "17", "18", "19"));
  EXPECT_EQ(linear.Place(13), 0);
  EXPECT_EQ(linear.Place(19), 100);
  EXPECT_NEAR(linear.Place(16), 50, 1e-9);
  EXPECT_EQ(linear.Place(-5), 0);
  EXPECT_EQ(linear.Place(NAN), 0);
  const Scale zero = Scale::Fit({0.3, 0.9}, Scale::kFromZero, 100, 0);
  EXPECT_EQ(zero.Place(0), 100);
  const Scale log = Scale::Fit({0.0004, 0.3, 0}, Scale::kAuto, 0, 100);
  EXPECT_TRUE(log.is_log());
  // From 0.0002 to 0.5.
  EXPECT_THAT(Labels(log), ElementsAre("0.001", "0.01", "0.1"));
  EXPECT_NEAR(log.Place(0.01), 50, 1e-6);
  EXPECT_EQ(log.Place(0), 0);
  EXPECT_FALSE(Scale::Fit({0, 0}, Scale::kLog, 0, 1).is_log());
  EXPECT_NEAR(Scale::Fit({5, 5}, Scale::kAuto, 0, 100).Place(5), 50, 1e-9);
  EXPECT_THAT(Labels(Scale::Fit({3, 40}, Scale::kAuto, 0, 1)),
              ElementsAre("2", "5", "10", "20", "50"));
  EXPECT_FALSE(Scale::Fit({}, Scale::kAuto, 0, 1).ticks().empty());
}

TEST(Names, WhatTellsThemApart) {
  EXPECT_THAT(ShortNames({"o/gemma-3-Q4_K_M.gguf", "o/gemma-3-Q8_0.gguf"}, "g"),
              ElementsAre("Q4_K_M", "Q8_0"));
  EXPECT_THAT(ShortNames({"gemma-3-Q8_0.gguf"}, "x/gemma-3/"),
              ElementsAre("Q8_0"));
  EXPECT_THAT(ShortNames({"gemma-3", "gemma-3-awq"}, "g"),
              ElementsAre("3", "3-awq"));
  EXPECT_THAT(ShortNames({"a/m.gguf", "b/m.gguf"}, "m"),
              ElementsAre("a/m.gguf", "b/m.gguf"));
  EXPECT_THAT(ShortNames({}, "m"), ElementsAre());
  EXPECT_EQ(Shortened("abcdefghij", 5), "ab…ij");
  EXPECT_EQ(Shortened("abc", 5), "abc");
}

TEST(Escape, MarkdownKeepsWordsReadable) {
  EXPECT_EQ(MarkdownText("Q4_K_M"), "Q4_K_M");
  EXPECT_EQ(MarkdownText("_a_ *b* <c>"), "\\_a\\_ \\*b\\* &lt;c&gt;");
  EXPECT_EQ(MarkdownText("see https://x.y, www.z"),
            "see https\\://x.y, www\\.z");
  EXPECT_EQ(MarkdownName("a-b.gguf"), "`a-b.gguf`");
  EXPECT_EQ(MarkdownName("a`b|c"), "a\\`b\\|c");
  EXPECT_EQ(MarkdownCode("a\n```"), "````\na\n```\n````\n");
}

}  // namespace
}  // namespace narrow
