#include "converter/imatrix_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "converter/progress.h"
#include "formats/json/json_writer.h"

namespace narrow {

std::string ImatrixSummary(const ImatrixOutcome& outcome) {
  const ImportanceCollection& sums = outcome.sums;
  std::string text = absl::StrCat(
      "wrote ", outcome.out, ": ", sums.entries.size(), " tensors, ",
      sums.n_chunks, " chunks of ", sums.chunk_size, " tokens\n");
  if (outcome.collected.has_value()) {
    const CollectedImportance& run = *outcome.collected;
    const int64_t n_windows = run.sums.n_chunks - run.n_resumed;
    absl::StrAppendFormat(
        &text, "%d windows in %s, %.0f tokens/s", n_windows,
        FormatDuration(run.seconds),
        static_cast<double>(n_windows * run.sums.chunk_size) / run.seconds);
    if (run.n_resumed > 0) {
      absl::StrAppend(&text, "; ", run.n_resumed,
                      " were done by a run that was stopped");
    }
    absl::StrAppend(&text, "\n");
    if (run.perplexity.has_value()) {
      absl::StrAppendFormat(&text, "perplexity %.4f +- %.4f over %d tokens\n",
                            run.perplexity->perplexity,
                            run.perplexity->standard_error,
                            run.perplexity->n_scored);
    }
  }
  constexpr size_t kShown = 10;
  const ImportanceCoverage& coverage = outcome.coverage;
  if (coverage.n_without > 0) {
    absl::StrAppend(&text, "no token reached ", coverage.n_without, " of ",
                    coverage.n_matrices, " matrices:\n");
  }
  for (size_t i = 0; i < coverage.gaps.size(); ++i) {
    if (i == kShown) {
      absl::StrAppend(&text, "  and of ", coverage.gaps.size() - kShown,
                      " more tensors; --json lists them\n");
      break;
    }
    const ImportanceCoverage::Gap& gap = coverage.gaps[i];
    absl::StrAppend(&text, "  ", gap.n_without, " of ", gap.n_matrices,
                    " experts of ", gap.tensor, "\n");
  }
  if (!outcome.without_entry.empty()) {
    absl::StrAppend(&text, "no data at all for ", outcome.without_entry.size(),
                    " tensors of the model, ", outcome.without_entry[0],
                    " first\n");
  }
  return text;
}

std::string ImatrixJson(const ImatrixOutcome& outcome) {
  JsonWriter json(JsonWriter::kIndented);
  const auto strings = [&json](const char* key,
                               const std::vector<std::string>& values) {
    json.Key(key).BeginArray();
    for (const std::string& value : values) {
      json.String(value);
    }
    json.EndArray();
  };
  json.BeginObject();
  json.Key("out").String(outcome.out);
  json.Key("tensors").Integer(
      static_cast<int64_t>(outcome.sums.entries.size()));
  json.Key("chunks").Integer(outcome.sums.n_chunks);
  json.Key("chunk_size").Integer(outcome.sums.chunk_size);
  strings("datasets", outcome.sums.datasets);
  strings("combined", outcome.combined);
  if (outcome.collected.has_value()) {
    const CollectedImportance& run = *outcome.collected;
    json.Key("windows").Integer(run.sums.n_chunks);
    json.Key("resumed_windows").Integer(run.n_resumed);
    json.Key("seconds").Number(run.seconds);
    if (run.perplexity.has_value()) {
      json.Key("perplexity").Number(run.perplexity->perplexity);
      json.Key("standard_error").Number(run.perplexity->standard_error);
      json.Key("scored_tokens").Integer(run.perplexity->n_scored);
    }
  }
  json.Key("matrices").Integer(outcome.coverage.n_matrices);
  json.Key("matrices_without_data").Integer(outcome.coverage.n_without);
  json.Key("without_data").BeginArray();
  for (const ImportanceCoverage::Gap& gap : outcome.coverage.gaps) {
    json.BeginObject();
    json.Key("tensor").String(gap.tensor);
    json.Key("matrices").Integer(gap.n_matrices);
    json.Key("without").Integer(gap.n_without);
    json.EndObject();
  }
  json.EndArray();
  strings("without_entry", outcome.without_entry);
  json.EndObject();
  return json.text();
}

}  // namespace narrow
