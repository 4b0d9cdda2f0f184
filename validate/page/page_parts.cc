// Tested by: page_test.

#include "validate/page/page_parts.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "validate/page/names.h"
#include "validate/perplexity/report.h"

namespace narrow {

std::vector<std::string> PageNames(const ValidationReport& report) {
  std::vector<std::string> paths;
  for (const CandidateReport& candidate : report.candidates) {
    paths.push_back(candidate.model.path);
  }
  std::vector<std::string> names = ShortNames(paths, report.original.path);
  names.push_back(ModelName(report.original.path));
  return names;
}

std::string PageTitle(const ValidationReport& report,
                      const PageOptions& options) {
  return options.title.empty()
             ? absl::StrCat("Validation of ", ModelName(report.original.path))
             : options.title;
}

std::string PageSettings(const ValidationReport& report) {
  std::vector<std::string> sentences;
  for (const ValidatedDomain& domain : report.domains) {
    // A gate that stops early takes fewer windows than there are.
    sentences.push_back(absl::StrCat(
        "Text ", domain.name, ": ", domain.n_tokens, " tokens, ",
        domain.n_windows, " windows of ", report.windows.context,
        report.windows.protocol == Protocol::kLlamaCpp
            ? ", the second half of each scored (llama-perplexity's protocol)."
            : absl::StrCat(", advancing by ", report.windows.stride, ".")));
  }
  if (!report.domains.empty() || !report.tasks.empty()) {
    sentences.push_back(absl::StrCat(
        "Forward pass in ", PrecisionText(report.precision, report.device),
        "."));
  }
  return absl::StrJoin(sentences, " ");
}

std::vector<PageTable> MainTables(const ValidationReport& report) {
  const std::vector<std::string> names = PageNames(report);
  std::vector<PageTable> tables;
  for (PageTable& table : std::vector<PageTable>{
           SummaryTable(report, names), GateTable(report, names),
           DomainTable(report, names), TaskTable(report, names),
           SanityTable(report, names)}) {
    if (!table.rows.empty()) {
      tables.push_back(std::move(table));
    }
  }
  return tables;
}

}  // namespace narrow
