// What a validation came to as tables of text, from which the page and the
// model card are written alike.
//
//   for (const PageTable& table : ReportTables(report, names)) ...
//
// Plain values; texts are not escaped.

#ifndef NARROW_VALIDATE_PAGE_PAGE_TABLE_H_
#define NARROW_VALIDATE_PAGE_PAGE_TABLE_H_

#include <string>
#include <vector>

#include "validate/validation.h"

namespace narrow {

struct PageCell {
  enum Kind {
    kText,
    kProse,  // a sentence, broken where the page is narrow
    kName,   // of a model or file
    kNumber,
    kPass,
    kUndecided,
    kFail,
  };
  std::string text;
  Kind kind = kText;
};

struct PageTable {
  std::string title;
  std::string note;  // a sentence or two below the title; may be empty
  std::vector<PageCell> head;  // the kind says how a column is set
  std::vector<std::vector<PageCell>> rows;
};

// The reference's and each candidate's figures.
PageTable SummaryTable(const ValidationReport& report,
                       const std::vector<std::string>& names);
// A row for each text and candidate; no rows where there is one text.
PageTable DomainTable(const ValidationReport& report,
                      const std::vector<std::string>& names);
// A row for each task, metric and model; no rows without tasks.
PageTable TaskTable(const ValidationReport& report,
                    const std::vector<std::string>& names);
// A row for each candidate and criterion; no rows without a gate.
PageTable GateTable(const ValidationReport& report,
                    const std::vector<std::string>& names);
// A row for each finding of the comparison with the original; no rows where
// that was not made.
PageTable SanityTable(const ValidationReport& report,
                      const std::vector<std::string>& names);
// A row a layer, a column a candidate; no rows where weights were not
// compared.
PageTable LayerTable(const ValidationReport& report,
                     const std::vector<std::string>& names);
// Hashes of models and texts.
PageTable InputTable(const ValidationReport& report);

// "12.5 MiB".
std::string SizeText(int64_t n_bytes);
// Of the candidate on all texts; nullptr where none was measured.
const Comparison* WholeComparison(const CandidateReport& candidate);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_PAGE_TABLE_H_
