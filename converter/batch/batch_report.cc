#include "converter/batch/batch_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "converter/progress.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

int64_t FileBytes(const TargetRecord& record) {
  int64_t n_bytes = 0;
  for (const RecordedFile& file : record.file()) {
    n_bytes += file.n_bytes();
  }
  return n_bytes;
}

double BitsPerWeight(const TargetRecord& record) {
  return record.n_weights() == 0
             ? 0
             : 8.0 * static_cast<double>(record.tensor_bytes()) /
                   static_cast<double>(record.n_weights());
}

std::string State(const TargetOutcome& row) {
  return !row.status.ok()     ? "FAILED"
         : !row.record.done() ? "not begun"
         : row.was_there      ? "there"
                              : "written";
}

void WriteValidation(const RecordedValidation& validation, JsonWriter* json) {
  json->Key("validation").BeginObject();
  json->Key("texts").BeginArray();
  for (const RecordedDomain& row : validation.domain()) {
    json->BeginObject();
    json->Key("name").String(row.name());
    json->Key("windows").Integer(row.n_windows());
    json->Key("tokens").Integer(row.n_tokens());
    json->Key("perplexity").Number(row.perplexity());
    json->Key("reference_perplexity").Number(row.reference_perplexity());
    json->Key("ratio").Number(row.ratio());
    json->Key("ratio_error").Number(row.ratio_error());
    json->Key("kl_divergence").Number(row.kld());
    json->Key("kl_divergence_error").Number(row.kld_error());
    json->Key("rms_delta_p").Number(row.rms_dp());
    json->Key("same_top").Number(row.same_top());
    json->EndObject();
  }
  json->EndArray();
  json->Key("tasks").BeginArray();
  for (const RecordedTask& row : validation.task()) {
    json->BeginObject();
    json->Key("name").String(row.name());
    json->Key("metric").String(row.metric());
    json->Key("questions").Integer(row.n_questions());
    json->Key("value").Number(row.value());
    json->Key("reference_value").Number(row.reference_value());
    json->Key("difference_error").Number(row.difference_error());
    json->Key("mcnemar_p").Number(row.mcnemar_p());
    json->EndObject();
  }
  json->EndArray();
  json->Key("criteria").BeginArray();
  for (const RecordedCriterion& row : validation.criterion()) {
    json->BeginObject();
    json->Key("criterion").String(row.flag());
    json->Key("text").String(row.domain());
    json->Key("limit").Number(row.limit());
    json->Key("value").Number(row.value());
    json->Key("pass_bound").Number(row.pass_bound());
    json->Key("fail_bound").Number(row.fail_bound());
    json->Key("verdict").String(row.verdict());
    json->EndObject();
  }
  json->EndArray();
  json->Key("verdict").String(validation.verdict());
  json->EndObject();
}

void WriteTarget(const TargetOutcome& row, JsonWriter* json) {
  json->BeginObject();
  json->Key("name").String(row.target->name);
  json->Key("ok").Bool(row.status.ok() && row.record.done());
  if (!row.status.ok()) {
    json->Key("error").String(row.status.message());
  }
  if (row.record.done()) {
    json->Key("key").String(row.record.key());
    json->Key("files").BeginArray();
    for (const RecordedFile& file : row.record.file()) {
      json->BeginObject();
      json->Key("name").String(file.name());
      json->Key("bytes").Integer(file.n_bytes());
      json->Key("sha256").String(file.sha256());
      json->EndObject();
    }
    json->EndArray();
    json->Key("bytes").Integer(FileBytes(row.record));
    json->Key("weights").Integer(row.record.n_weights());
    json->Key("bits_per_weight").Number(BitsPerWeight(row.record));
  }
  if (row.record.has_validation()) {
    WriteValidation(row.record.validation(), json);
  }
  json->EndObject();
}

}  // namespace

std::string BatchTable(const BatchOutcome& outcome) {
  std::string text = absl::StrFormat(
      "%-20s %-14s %12s %6s %9s %9s %9s %-10s %s\n", "model", "target", "size",
      "bits", "ppl %", "KL", "same top", "gate", "state");
  std::string errors;
  for (const ModelOutcome& model : outcome.models) {
    for (const TargetOutcome& row : model.targets) {
      const bool there = row.record.done();
      const RecordedValidation& validation = row.record.validation();
      const bool measured = validation.domain_size() > 0;
      const RecordedDomain domain =
          measured ? validation.domain(0) : RecordedDomain();
      absl::StrAppendFormat(
          &text, "%-20s %-14s %12s %6s %9s %9s %9s %-10s %s\n",
          OneLine(model.model->name), OneLine(row.target->name),
          there ? FormatBytes(FileBytes(row.record)) : "",
          there ? absl::StrFormat("%.2f", BitsPerWeight(row.record)) : "",
          measured ? absl::StrFormat("%+.3f", 100 * (domain.ratio() - 1)) : "",
          measured ? absl::StrFormat("%.5f", domain.kld()) : "",
          measured ? absl::StrFormat("%.4f", domain.same_top()) : "",
          validation.verdict(), State(row));
      if (!row.status.ok()) {
        absl::StrAppend(&errors, OneLine(model.model->name), " ",
                        OneLine(row.target->name), ": ",
                        OneLine(row.status.message()), "\n");
      }
    }
  }
  return text + errors;
}

std::string BatchJson(const BatchOutcome& outcome) {
  const BatchCounts counts = CountOutcome(outcome);
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("targets").Integer(counts.n_targets);
  json.Key("failed").Integer(counts.n_errors);
  json.Key("gate_failed").Integer(counts.n_gate_failed);
  json.Key("gate_undecided").Integer(counts.n_undecided);
  json.Key("models").BeginArray();
  for (const ModelOutcome& model : outcome.models) {
    json.BeginObject();
    json.Key("name").String(model.model->name);
    json.Key("targets").BeginArray();
    for (const TargetOutcome& row : model.targets) {
      WriteTarget(row, &json);
    }
    json.EndArray().EndObject();
  }
  json.EndArray().EndObject();
  return json.text();
}

BatchCounts CountOutcome(const BatchOutcome& outcome) {
  BatchCounts counts;
  for (const ModelOutcome& model : outcome.models) {
    for (const TargetOutcome& row : model.targets) {
      ++counts.n_targets;
      counts.n_errors += row.status.ok() ? 0 : 1;
      counts.n_gate_failed += row.verdict() == "fail" ? 1 : 0;
      counts.n_undecided += row.verdict() == "undecided" ? 1 : 0;
    }
  }
  return counts;
}

}  // namespace narrow
