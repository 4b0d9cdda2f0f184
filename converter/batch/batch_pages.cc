#include "converter/batch/batch_pages.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/batch/saved_report.h"
#include "converter/provenance/made_by.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "validate/page/page.h"

namespace narrow {
namespace {

absl::Status WritePagesOf(const ModelOutcome& model, const std::string& path,
                          PageOptions options) {
  std::vector<ValidationReport> reports;
  for (const TargetOutcome& row : model.targets) {
    if (!row.status.ok() || !row.record.validation().has_report()) {
      continue;
    }
    std::optional<ValidationReport> report =
        LoadReport(row.record.validation().report());
    if (!report.has_value() || report->candidates.empty()) {
      continue;
    }
    const std::string made_by = MadeBy(row.target->output);
    if (!made_by.empty()) {
      options.commands.push_back(made_by);
    }
    reports.push_back(*std::move(report));
  }
  if (reports.empty()) {
    return absl::OkStatus();
  }
  const ValidationReport report = JoinReports(std::move(reports));
  RETURN_IF_ERROR(
      WriteTextFile(absl::StrCat(path, ".html"), RenderPage(report, options)));
  return WriteTextFile(absl::StrCat(path, ".md"),
                       RenderMarkdown(report, options));
}

}  // namespace

absl::Status WriteBatchPages(const BatchOutcome& outcome,
                             const std::string& out,
                             const std::string& command) {
  for (const ModelOutcome& model : outcome.models) {
    PageOptions options;
    options.title = absl::StrCat("Validation of ", model.model->name);
    options.commands = {command};
    const std::string name = outcome.models.size() == 1
                                 ? "report"
                                 : absl::StrCat("report-", model.model->name);
    RETURN_IF_ERROR(WritePagesOf(model, JoinPath(out, name), options));
  }
  return absl::OkStatus();
}

}  // namespace narrow
