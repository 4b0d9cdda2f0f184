// The model card: RenderMarkdown of page.h.

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "validate/page/escape.h"
#include "validate/page/page.h"
#include "validate/page/page_parts.h"
#include "validate/page/page_table.h"

namespace narrow {
namespace {

std::string Cell(const PageCell& cell) {
  if (cell.text.empty()) {
    return "";
  }
  switch (cell.kind) {
    case PageCell::kName:
      return MarkdownName(cell.text);
    case PageCell::kPass:
      return absl::StrCat("✅ ", cell.text);
    case PageCell::kUndecided:
      return absl::StrCat("❔ ", cell.text);
    case PageCell::kFail:
      return absl::StrCat("❌ ", cell.text);
    case PageCell::kText:
    case PageCell::kProse:
    case PageCell::kNumber:
      break;
  }
  return MarkdownText(cell.text);
}

std::string Row(const std::vector<std::string>& cells) {
  return absl::StrCat("| ", absl::StrJoin(cells, " | "), " |\n");
}

std::string Section(const PageTable& table) {
  std::vector<std::string> head;
  std::vector<std::string> rule;
  for (const PageCell& cell : table.head) {
    head.push_back(MarkdownText(cell.text));
    rule.push_back(cell.kind == PageCell::kNumber ? "---:" : "---");
  }
  std::string text =
      absl::StrCat("### ", table.title, "\n\n", Row(head), Row(rule));
  for (const auto& row : table.rows) {
    std::vector<std::string> cells;
    for (const PageCell& cell : row) {
      cells.push_back(Cell(cell));
    }
    text += Row(cells);
  }
  if (!table.note.empty()) {
    absl::StrAppend(&text, "\n", MarkdownText(table.note), "\n");
  }
  return text + "\n";
}

}  // namespace

std::string RenderMarkdown(const ValidationReport& report,
                           const PageOptions& options) {
  std::string text =
      absl::StrCat("## ", MarkdownText(PageTitle(report, options)), "\n\n");
  const std::string settings = PageSettings(report);
  if (!settings.empty()) {
    absl::StrAppend(&text, MarkdownText(settings), "\n\n");
  }
  for (const std::string& warning : report.warnings) {
    absl::StrAppend(&text, "> ", MarkdownText(warning), "\n\n");
  }
  for (const PageTable& table : MainTables(report)) {
    text += Section(table);
  }
  const PageTable layers = LayerTable(report, PageNames(report));
  if (!layers.rows.empty()) {
    // Folded: a model may have a hundred layers.
    absl::StrAppend(&text, "<details><summary>Error of every layer</summary>",
                    "\n\n", Section(layers), "</details>\n\n");
  }
  if (!options.commands.empty()) {
    absl::StrAppend(&text, "### To make it again\n\n",
                    MarkdownCode(absl::StrJoin(options.commands, "\n")), "\n");
  }
  return text + Section(InputTable(report));
}

}  // namespace narrow
