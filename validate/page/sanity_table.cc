// Tested by: page_test.

#include "absl/strings/str_cat.h"
#include "validate/page/page_table.h"

namespace narrow {
namespace {

// Of a broken candidate every tensor may be a finding.
constexpr size_t kMaxFindings = 50;

PageCell Severity(SanitySeverity severity) {
  return {SanitySeverityName(severity),
          severity == SanitySeverity::kError     ? PageCell::kFail
          : severity == SanitySeverity::kWarning ? PageCell::kUndecided
                                                 : PageCell::kText};
}

}  // namespace

PageTable SanityTable(const ValidationReport& report,
                      const std::vector<std::string>& names) {
  PageTable table;
  table.title = "Sanity";
  table.note =
      "Compared with the original: weights that are finite, tensors, tokens, "
      "their types and special ids, ids of a fixed text in many scripts, and "
      "the chat template.";
  table.head = {{"model", PageCell::kName},
                {"found"},
                {"in"},
                {"what", PageCell::kName},
                {"finding"},
                {"original"},
                {"candidate"}};
  for (size_t i = 0; i < report.candidates.size(); ++i) {
    const auto& sanity = report.candidates[i].sanity;
    if (!sanity.has_value()) {
      continue;
    }
    const PageCell name = {names[i], PageCell::kName};
    if (sanity->findings.empty()) {
      table.rows.push_back(
          {name,
           {"nothing", PageCell::kPass},
           {},
           {},
           {absl::StrCat(sanity->n_tensors, " tensors, ",
                         sanity->n_tokens_compared, " tokens compared")},
           {},
           {}});
    }
    for (size_t f = 0; f < sanity->findings.size(); ++f) {
      if (f == kMaxFindings) {
        table.rows.push_back(
            {name,
             {},
             {},
             {},
             {absl::StrCat("and ", sanity->findings.size() - f, " more")},
             {},
             {}});
        break;
      }
      const SanityFinding& one = sanity->findings[f];
      table.rows.push_back({name,
                            Severity(one.severity),
                            {one.check},
                            {one.subject, PageCell::kName},
                            {one.message},
                            {one.original},
                            {one.candidate}});
    }
  }
  return table;
}

}  // namespace narrow
