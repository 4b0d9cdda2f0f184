#include "validate/sanity/sanity.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "validate/sanity/checks.h"

namespace narrow {

const char* SanitySeverityName(SanitySeverity severity) {
  switch (severity) {
    case SanitySeverity::kNote:
      return "note";
    case SanitySeverity::kWarning:
      return "warning";
    case SanitySeverity::kError:
      break;
  }
  return "error";
}

bool SanityReport::ok() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const SanityFinding& finding) {
                        return finding.severity == SanitySeverity::kError;
                      });
}

absl::StatusOr<SanityReport> CheckSanity(const Checkpoint& original,
                                         const Checkpoint& candidate,
                                         const SanityOptions& options) {
  SanityReport report;
  CheckTensors(original, candidate, options.expected, &report);
  RETURN_IF_ERROR(CheckWeights(original, candidate, options, &report));
  CheckTokenizer(original.metadata(), candidate.metadata(), &report);
  CheckChatTemplate(original.metadata(), candidate.metadata(), &report);
  std::stable_sort(report.findings.begin(), report.findings.end(),
                   [](const SanityFinding& a, const SanityFinding& b) {
                     return a.severity > b.severity;
                   });
  return report;
}

std::string RenderSanity(const SanityReport& report) {
  std::string text;
  for (const SanityFinding& finding : report.findings) {
    absl::StrAppend(&text, SanitySeverityName(finding.severity), ": ",
                    finding.check, ": ", finding.subject,
                    finding.subject.empty() ? "" : " ", finding.message);
    if (!finding.original.empty() || !finding.candidate.empty()) {
      absl::StrAppend(&text, "; original ",
                      finding.original.empty() ? "none" : finding.original,
                      ", candidate ",
                      finding.candidate.empty() ? "none" : finding.candidate);
    }
    absl::StrAppend(&text, "\n");
  }
  if (report.findings.empty()) {
    text = absl::StrCat("sane: ", report.n_tensors, " tensors, ",
                        report.n_tokens_compared, " tokens, ",
                        report.n_conversations, " conversations\n");
  }
  return text;
}

void AddSanityJson(const SanityReport& report, JsonWriter* json) {
  json->Key("sanity").BeginObject();
  json->Key("ok").Bool(report.ok());
  json->Key("tensors").Integer(report.n_tensors);
  json->Key("weights").Integer(report.n_weights);
  json->Key("tokens").Integer(report.n_tokens_compared);
  json->Key("text_ids").Integer(report.n_text_ids);
  json->Key("conversations").Integer(report.n_conversations);
  json->Key("findings").BeginArray();
  for (const SanityFinding& finding : report.findings) {
    json->BeginObject();
    json->Key("severity").String(SanitySeverityName(finding.severity));
    json->Key("check").String(finding.check);
    json->Key("subject").String(finding.subject);
    json->Key("message").String(finding.message);
    json->Key("original").String(finding.original);
    json->Key("candidate").String(finding.candidate);
    json->EndObject();
  }
  json->EndArray();
  json->EndObject();
}

}  // namespace narrow
