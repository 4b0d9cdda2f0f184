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

// The output matrix comes after all blocks.
std::string BlockName(const BlockVerdict& verdict, int64_t n_blocks) {
  return verdict.block < n_blocks ? absl::StrCat("block ", verdict.block)
                                  : "the output matrix";
}

std::string VerdictLines(const CompensatedOutcome& outcome) {
  if (outcome.n_verify_windows == 0) {
    return "";
  }
  int64_t n_accepted = 0;
  std::string rejections;
  for (const BlockVerdict& verdict : outcome.verdicts) {
    if (verdict.accepted) {
      ++n_accepted;
      continue;
    }
    absl::StrAppendFormat(
        &rejections,
        "  rejected, plain blocks kept: %s, whose KL divergence would be %.4g "
        "instead of %.4g\n",
        BlockName(verdict, outcome.n_blocks), verdict.divergence,
        verdict.divergence_plain);
  }
  return absl::StrFormat(
             "  verified on %d windows: the model's KL divergence is lower "
             "with %d of %d solved blocks\n",
             outcome.n_verify_windows, n_accepted, outcome.verdicts.size()) +
         rejections;
}

void VerdictsJson(const CompensatedOutcome& outcome, JsonWriter* json) {
  json->Key("verified");
  if (outcome.n_verify_windows == 0) {
    json->Null();
    return;
  }
  json->BeginObject();
  json->Key("windows").Integer(outcome.n_verify_windows);
  json->Key("blocks").BeginArray();
  for (const BlockVerdict& verdict : outcome.verdicts) {
    json->BeginObject();
    json->Key("block");
    if (verdict.block < outcome.n_blocks) {
      json->Integer(verdict.block);
    } else {
      json->Null();
    }
    json->Key("kl_divergence").Number(verdict.divergence);
    json->Key("kl_divergence_plain").Number(verdict.divergence_plain);
    json->Key("accepted").Bool(verdict.accepted);
    json->EndObject();
  }
  json->EndArray().EndObject();
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
  text += VerdictLines(outcome);
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const UnsolvedTensor& tensor : outcome.plain) {
    by_reason[absl::StrCat("not solved, ", tensor.why)].push_back(tensor.name);
  }
  for (const SolvedReport& report : outcome.solved) {
    if (!report.plain_why.empty()) {
      by_reason[absl::StrCat("not solved, ", report.plain_why)].push_back(
          report.name);
    } else if (!report.rejected && report.n_accepted < report.n_matrices) {
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
    json->Key("rejected").Bool(report.rejected);
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
  VerdictsJson(outcome, json);
  json->EndObject();
}

}  // namespace narrow
