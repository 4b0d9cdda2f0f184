#include "validate/page/page.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "validate/page/escape.h"
#include "validate/page/page_parts.h"
#include "validate/page/page_table.h"
#include "validate/page/pictures/layer_chart.h"
#include "validate/page/pictures/scatter.h"
#include "validate/page/style.h"

namespace narrow {
namespace {

constexpr double kMiB = 1048576;

const char* ClassOf(PageCell::Kind kind) {
  switch (kind) {
    case PageCell::kText:
      return "";
    case PageCell::kProse:
      return " class=\"prose\"";
    case PageCell::kName:
      return " class=\"name\"";
    case PageCell::kNumber:
      return " class=\"number\"";
    case PageCell::kPass:
      return " class=\"pass\"";
    case PageCell::kUndecided:
      return " class=\"undecided\"";
    case PageCell::kFail:
      return " class=\"fail\"";
  }
  return "";
}

// Names are set apart, so that one written from right to left does not move
// what stands beside it.
std::string CellText(const PageCell& cell) {
  return cell.kind == PageCell::kName
             ? absl::StrCat("<bdi>", HtmlText(cell.text), "</bdi>")
             : HtmlText(cell.text);
}

std::string Rows(const PageTable& table) {
  std::string html = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const PageCell& cell : table.head) {
    absl::StrAppend(&html, "<th scope=\"col\"", ClassOf(cell.kind), ">",
                    CellText(cell), "</th>");
  }
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (size_t c = 0; c < row.size(); ++c) {
      // Empty cells keep the column's alignment; hashes are long.
      const bool hash = table.head[c].text == "SHA-256";
      absl::StrAppend(&html, "<td",
                      hash ? " class=\"hash\"" : ClassOf(row[c].kind), ">",
                      CellText(row[c]), "</td>");
    }
    html += "</tr>\n";
  }
  return html + "</tbody>\n</table></div>\n";
}

std::string Section(const PageTable& table) {
  std::string html =
      absl::StrCat("<h2>", HtmlText(table.title), "</h2>\n", Rows(table));
  if (!table.note.empty()) {
    absl::StrAppend(&html, "<p class=\"muted\">", HtmlText(table.note),
                    "</p>\n");
  }
  return html;
}

// One point a candidate, where `y_of` gives its height.
template <typename Heights>
std::vector<ScatterPoint> Points(const ValidationReport& report,
                                 const std::vector<std::string>& names,
                                 const Heights& y_of) {
  std::vector<ScatterPoint> points;
  for (size_t i = 0; i < report.candidates.size(); ++i) {
    const CandidateReport& candidate = report.candidates[i];
    const Comparison* whole = WholeComparison(candidate);
    if (whole == nullptr) {
      continue;
    }
    const Figure y = y_of(*whole);
    if (!std::isfinite(y.value)) {
      continue;
    }
    ScatterPoint point;
    point.name = names[i];
    point.x = static_cast<double>(candidate.model.tensor_bytes) / kMiB;
    point.y = y.value;
    const bool interval = std::isfinite(y.low) && std::isfinite(y.high);
    point.low = interval ? y.low : y.value;
    point.high = interval ? y.high : y.value;
    point.verdict = candidate.verdict;
    points.push_back(std::move(point));
  }
  return points;
}

// A perplexity as the original's and the difference: that is known far better
// than either, since both find the same tokens hard.
Figure FromDifference(const Comparison& whole) {
  Figure figure = whole.difference;
  const double reference = whole.reference_perplexity.value;
  figure.value += reference;
  figure.low += reference;
  figure.high += reference;
  return figure;
}

std::string Figured(const std::string& caption, const std::string& picture,
                    const std::string& note) {
  return absl::StrCat("<figure><figcaption>", HtmlText(caption),
                      "</figcaption>\n", picture, "<p class=\"muted\">",
                      HtmlText(note), "</p></figure>\n");
}

std::string DivergencePicture(const ValidationReport& report,
                              const std::vector<std::string>& names) {
  const auto points = Points(
      report, names, [](const Comparison& whole) { return whole.divergence; });
  if (points.empty()) {
    return "";
  }
  ScatterOptions options;
  options.title = "Size of each candidate against its KL divergence";
  options.x_title = "size of the tensors, MiB";
  options.y_title = "KL divergence, nats a token";
  return Figured("Size and KL divergence", DrawScatter(points, options),
                 "Bars: 95 % intervals.");
}

std::string PerplexityPicture(const ValidationReport& report,
                              const std::vector<std::string>& names) {
  const auto points = Points(report, names, FromDifference);
  if (points.empty()) {
    return "";
  }
  ScatterOptions options;
  options.title = "Size of each candidate against its perplexity";
  options.x_title = "size of the tensors, MiB";
  options.y_title = "perplexity";
  for (const CandidateReport& candidate : report.candidates) {
    const Comparison* whole = WholeComparison(candidate);
    if (whole != nullptr && std::isfinite(whole->reference_perplexity.value)) {
      options.line = whole->reference_perplexity.value;
      options.line_label = absl::StrFormat("original %.3f", *options.line);
      break;
    }
  }
  return Figured("Size and perplexity", DrawScatter(points, options),
                 "Bars: 95 % intervals of the difference from the original.");
}

std::string LayerPicture(const ValidationReport& report,
                         const std::vector<std::string>& names) {
  std::vector<std::string> layers;
  std::vector<LayerSeries> series;
  for (size_t i = 0; i < report.candidates.size(); ++i) {
    const auto& weights = report.candidates[i].weights;
    if (!weights || weights->rescaled) {
      continue;
    }
    if (layers.empty()) {
      for (const LayerError& layer : weights->layers) {
        layers.push_back(layer.name);
      }
    }
    LayerSeries one;
    one.name = names[i];
    for (const std::string& name : layers) {
      double error = NAN;
      for (const LayerError& layer : weights->layers) {
        error = layer.name == name ? layer.sums.relative() : error;
      }
      one.errors.push_back(error);
    }
    series.push_back(std::move(one));
  }
  return layers.empty() ? ""
                        : Figured("Error of the weights by layer",
                                  DrawLayerChart(layers, series),
                                  "|candidate - original| / |original|.");
}

std::string Pictures(const ValidationReport& report,
                     const std::vector<std::string>& names) {
  const std::string all = absl::StrCat(DivergencePicture(report, names),
                                       PerplexityPicture(report, names),
                                       LayerPicture(report, names));
  return all.empty()
             ? ""
             : absl::StrCat("<div class=\"pictures\">\n", all, "</div>\n");
}

std::string Head(const ValidationReport& report, const PageOptions& options) {
  const std::string title = HtmlText(PageTitle(report, options));
  std::string html = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">\n"
      // Nothing is loaded or run, whatever a name holds.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
      "'none'; style-src 'unsafe-inline'\">\n<title>",
      title, "</title>\n<style>", kPageStyle, "</style>\n</head>\n<body>\n",
      "<main>\n<h1><bdi>", title, "</bdi>");
  if (report.verdict) {
    const std::string name(VerdictName(*report.verdict));
    absl::StrAppend(&html, " <span class=\"badge ", name, "\">", name,
                    "</span>");
  }
  absl::StrAppend(&html, "</h1>\n<p class=\"muted\">",
                  HtmlText(PageSettings(report)), "</p>\n");
  return html;
}

std::string Warnings(const ValidationReport& report) {
  if (report.warnings.empty()) {
    return "";
  }
  std::string html = "<ul class=\"warnings\">\n";
  for (const std::string& warning : report.warnings) {
    absl::StrAppend(&html, "<li>", HtmlText(warning), "</li>\n");
  }
  return html + "</ul>\n";
}

std::string Details(const PageTable& table, const std::string& summary) {
  if (table.rows.empty()) {
    return "";
  }
  return absl::StrCat("<details><summary>", HtmlText(summary), "</summary>\n",
                      Rows(table), "<p class=\"muted\">", HtmlText(table.note),
                      "</p></details>\n");
}

}  // namespace

std::string RenderPage(const ValidationReport& report,
                       const PageOptions& options) {
  const std::vector<std::string> names = PageNames(report);
  std::string html = Head(report, options) + Warnings(report);
  html += Pictures(report, names);
  html += Details(LayerTable(report, names), "Error of every layer");
  for (const PageTable& table : MainTables(report)) {
    html += Section(table);
  }
  if (!options.commands.empty()) {
    absl::StrAppend(
        &html, "<h2>To make it again</h2>\n<pre>",
        HtmlText(HarmlessLines(absl::StrJoin(options.commands, "\n"))),
        "</pre>\n");
  }
  html += Details(InputTable(report), "Inputs and their hashes");
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace narrow
