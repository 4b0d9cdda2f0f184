// Tested by: page_test.

#include <string>

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

// One cell, so that a phone shows it whole: "tensors: 'blk.0.attn_q.weight' is
// missing; original bf16 [64, 64]".
std::string FindingText(const SanityFinding& one) {
  std::string text = absl::StrCat(one.check, ": ", one.subject,
                                  one.subject.empty() ? "" : " ", one.message);
  if (!one.original.empty()) {
    absl::StrAppend(&text, "; original ", one.original);
  }
  if (!one.candidate.empty()) {
    absl::StrAppend(&text,
                    one.original.empty() ? "; candidate " : ", candidate ",
                    one.candidate);
  }
  return text;
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
  table.head = {{"model", PageCell::kName}, {"found"}, {"finding"}};
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
           {absl::StrCat(sanity->n_tensors, " tensors, ",
                         sanity->n_tokens_compared, " tokens compared"),
            PageCell::kProse}});
    }
    for (size_t f = 0; f < sanity->findings.size(); ++f) {
      if (f == kMaxFindings) {
        table.rows.push_back(
            {name,
             {},
             {absl::StrCat("and ", sanity->findings.size() - f, " more")}});
        break;
      }
      const SanityFinding& one = sanity->findings[f];
      table.rows.push_back(
          {name, Severity(one.severity), {FindingText(one), PageCell::kProse}});
    }
  }
  return table;
}

}  // namespace narrow
