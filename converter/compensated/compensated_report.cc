#include "converter/compensated/compensated_report.h"

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Names in a line of the summary; the JSON has all.
constexpr size_t kNamesShown = 3;

struct Totals {
  int n_tensors = 0;
  int64_t n_matrices = 0, n_accepted = 0;
  double error = 0, error_plain = 0;  // means over tensors
};

Totals TotalsOf(const CompensatedOutcome& outcome) {
  Totals totals;
  for (const SolvedReport& report : outcome.solved) {
    if (!report.plain_why.empty()) {
      continue;
    }
    ++totals.n_tensors;
    totals.n_matrices += report.n_matrices;
    totals.n_accepted += report.n_accepted;
    totals.error += report.relative_error;
    totals.error_plain += report.relative_error_plain;
  }
  if (totals.n_tensors > 0) {
    totals.error /= totals.n_tensors;
    totals.error_plain /= totals.n_tensors;
  }
  return totals;
}

std::string NamesLine(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < kNamesShown; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", OneLine(names[i]));
  }
  if (names.size() > kNamesShown) {
    absl::StrAppend(&text, " and ", names.size() - kNamesShown, " more");
  }
  return text;
}

}  // namespace

std::string CompensatedSummary(const CompensatedOutcome& outcome) {
  const Totals totals = TotalsOf(outcome);
  std::string text = absl::StrFormat(
      "  solved %d tensors: mean relative error %.3g, plain %.3g; better in "
      "%d of %d matrices\n",
      totals.n_tensors, totals.error, totals.error_plain, totals.n_accepted,
      totals.n_matrices);
  if (outcome.mean_loss.has_value()) {
    absl::StrAppendFormat(&text,
                          "  tokens weighed by gradients of the model's own "
                          "loss, %.4f nats a token\n",
                          *outcome.mean_loss);
  }
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const UnsolvedTensor& tensor : outcome.plain) {
    by_reason[absl::StrCat("not solved, ", tensor.why)].push_back(tensor.name);
  }
  for (const SolvedReport& report : outcome.solved) {
    if (!report.plain_why.empty()) {
      by_reason[absl::StrCat("not solved, ", report.plain_why)].push_back(
          report.name);
    } else if (report.n_accepted < report.n_matrices) {
      by_reason[report.n_matrices > 1
                    ? "plain blocks kept in some matrices, none better found"
                    : "plain blocks kept, none better found"]
          .push_back(report.name);
    }
    for (const std::string& note : report.notes) {
      // What follows the comma differs from tensor to tensor.
      by_reason[OneLine(note.substr(0, note.find(',')))].push_back(report.name);
    }
  }
  for (const auto& [reason, names] : by_reason) {
    absl::StrAppend(&text, "  ", reason, ": ", NamesLine(names), "\n");
  }
  return text;
}

void CompensatedJson(const CompensatedOutcome& outcome, JsonWriter* json) {
  const Totals totals = TotalsOf(outcome);
  json->Key("compensated").BeginObject();
  json->Key("error").Number(totals.error);
  json->Key("error_plain").Number(totals.error_plain);
  json->Key("mean_loss");
  if (outcome.mean_loss.has_value()) {
    json->Number(*outcome.mean_loss);
  } else {
    json->Null();
  }
  json->Key("blocks_resumed").Integer(outcome.n_blocks_resumed);
  json->Key("tensors").BeginArray();
  for (const SolvedReport& report : outcome.solved) {
    json->BeginObject();
    json->Key("name").String(report.name);
    json->Key("matrices").Integer(report.n_matrices);
    json->Key("accepted").Integer(report.n_accepted);
    json->Key("error").Number(report.relative_error);
    json->Key("error_plain").Number(report.relative_error_plain);
    json->Key("notes").BeginArray();
    for (const std::string& note : report.notes) {
      json->String(note);
    }
    json->EndArray();
    if (!report.plain_why.empty()) {
      json->Key("plain_because").String(report.plain_why);
    }
    json->EndObject();
  }
  json->EndArray();
  json->Key("plain").BeginArray();
  for (const UnsolvedTensor& tensor : outcome.plain) {
    json->BeginObject();
    json->Key("name").String(tensor.name);
    json->Key("because").String(tensor.why);
    json->EndObject();
  }
  json->EndArray();
  json->EndObject();
}

}  // namespace narrow
