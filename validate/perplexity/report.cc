#include "validate/perplexity/report.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "formats/json/json_writer.h"
#include "validate/text_table.h"

namespace narrow {
namespace {

constexpr char kProcessor[] = "processor";

// "name": value, "name_error": …, and for blocks "name_window_error": ….
void AddEstimate(const char* name, const Estimate& e, JsonWriter* json) {
  json->Key(name).Number(e.value);
  json->Key(absl::StrCat(name, "_error")).Number(e.error);
}

void AddEstimate(const char* name, const BlockEstimate& e, JsonWriter* json) {
  AddEstimate(name, Estimate{e.value, e.error}, json);
  json->Key(absl::StrCat(name, "_window_error")).Number(e.window_error);
}

void AddSettings(const PerplexityReport& report, JsonWriter* json) {
  json->Key("settings").BeginObject();
  AddWindowSettings(report.windows, json);
  json->Key("windows_begin_with_bos").Bool(report.windows_begin_with_bos);
  json->Key("precision").String(PrecisionName(report.precision));
  json->Key("threads").Integer(report.n_threads);
  json->Key("device").String(report.device);
  json->EndObject();

  json->Key("text").BeginObject();
  json->Key("files").BeginArray();
  for (const std::string& path : report.text_paths) {
    json->String(path);
  }
  json->EndArray();
  json->Key("bytes").Integer(report.text_bytes);
  json->Key("tokens").Integer(report.n_text_tokens);
  json->EndObject();

  json->Key("warnings").BeginArray();
  for (const std::string& warning : report.warnings) {
    json->String(warning);
  }
  json->EndArray();
}

// An array, if there is anything in it.
void AddNumbers(const char* name, const std::vector<double>& values,
                JsonWriter* json) {
  if (values.empty()) {
    return;
  }
  json->Key(name).BeginArray();
  for (double value : values) {
    json->Number(value);
  }
  json->EndArray();
}

void AddWindowTokens(const PerplexityReport& report, JsonWriter* json) {
  if (report.window_tokens.empty()) {
    return;
  }
  json->Key("window_tokens").BeginArray();
  for (size_t w = 0; w < report.window_tokens.size(); ++w) {
    json->BeginObject();
    json->Key("first_scored").Integer(report.window_first_scored[w]);
    json->Key("ids").BeginArray();
    for (int32_t id : report.window_tokens[w]) {
      json->Integer(id);
    }
    json->EndArray();
    json->EndObject();
  }
  json->EndArray();
}

void AddModel(const ModelReport& model, JsonWriter* json) {
  const PerplexitySummary& summary = model.summary;
  json->BeginObject();
  json->Key("path").String(model.path);
  json->Key("tensor_bytes").Integer(model.tensor_bytes);
  json->Key("weights").Integer(model.n_weights);
  json->Key("bits_per_weight").Number(model.bits_per_weight());
  AddEstimate("perplexity", summary.perplexity, json);
  AddEstimate("mean_nll", summary.mean_nll, json);
  AddEstimate("top1", summary.top_share, json);
  json->Key("tokens_scored").Integer(summary.n_scored);
  json->Key("seconds").Number(model.seconds);
  json->Key("tokens_per_second").Number(model.tokens_per_second);
  if (model.paired) {
    json->Key("against_first").BeginObject();
    AddEstimate("mean_nll_difference", model.paired->mean_nll_difference, json);
    AddEstimate("perplexity_ratio", model.paired->perplexity_ratio, json);
    AddEstimate("perplexity_difference", model.paired->perplexity_difference,
                json);
    AddEstimate("same_top", model.paired->same_top_share, json);
    if (model.paired->divergence) {
      const DivergenceSummary& kl = *model.paired->divergence;
      AddEstimate("kl_divergence", kl.mean, json);
      json->Key("kl_divergence_median").Number(kl.median);
      json->Key("kl_divergence_90").Number(kl.p90);
      json->Key("kl_divergence_95").Number(kl.p95);
      json->Key("kl_divergence_99").Number(kl.p99);
      json->Key("kl_divergence_99.9").Number(kl.p999);
      json->Key("kl_divergence_max").Number(kl.maximum);
    }
    json->EndObject();
  }
  AddNumbers("token_nll", model.token_nll, json);
  AddNumbers("token_kl_divergence", model.token_divergence, json);
  json->Key("windows").BeginArray();
  for (const WindowSummary& window : summary.windows) {
    json->BeginObject();
    json->Key("tokens_scored").Integer(window.n_scored);
    json->Key("mean_nll").Number(window.mean_nll);
    json->Key("running_perplexity").Number(window.running_perplexity);
    json->EndObject();
  }
  json->EndArray();
  json->EndObject();
}

// With the error over tokens, which llama-perplexity shows too; without one
// where it is unknown.
std::string WithError(double value, double error, int n_digits) {
  if (!std::isfinite(error)) {
    return absl::StrFormat("%.*f", n_digits, value);
  }
  return absl::StrFormat("%.*f ± %.*f", n_digits, value, n_digits, error);
}

std::string SignedWithError(const BlockEstimate& e, int n_digits) {
  return absl::StrCat(e.value < 0 ? "" : "+",
                      WithError(e.value, e.error, n_digits));
}

std::string Settings(const PerplexityReport& report) {
  const WindowSettings& windows = report.windows;
  const PerplexitySummary& first = report.models.front().summary;
  std::string protocol = windows.protocol == Protocol::kLlamaCpp
                             ? "second half of each scored"
                             : absl::StrCat("stride ", windows.stride);
  return absl::StrCat(absl::StrJoin(report.text_paths, " "), ": ",
                      report.n_text_tokens, " tokens; ", first.windows.size(),
                      " windows of ", windows.context, ", ", protocol, ": ",
                      first.n_scored, " tokens; ",
                      PrecisionText(report.precision, report.device), "\n\n");
}

std::string Table(const PerplexityReport& report) {
  const bool paired = report.models.size() > 1;
  std::vector<TextTable::Column> columns = {
      {"model", TextTable::kLeft}, {"MiB"}, {"bits/weight"}, {"perplexity"}};
  if (paired) {
    columns.insert(columns.end(), {{"difference"}, {"ratio"}, {"same top %"}});
  }
  const bool diverges = paired && report.models[1].paired->divergence;
  if (diverges) {
    columns.insert(columns.end(), {{"KL divergence"}, {"KL 99 %"}});
  }
  columns.push_back({"tokens/s"});
  TextTable table(columns);
  for (const ModelReport& model : report.models) {
    const BlockEstimate& perplexity = model.summary.perplexity;
    std::vector<std::string> cells = {
        model.path, absl::StrFormat("%.2f", model.tensor_bytes / 1048576.0),
        absl::StrFormat("%.4f", model.bits_per_weight()),
        WithError(perplexity.value, perplexity.error, 4)};
    if (model.paired) {
      const Estimate& same_top = model.paired->same_top_share;
      cells.push_back(SignedWithError(model.paired->perplexity_difference, 4));
      cells.push_back(WithError(model.paired->perplexity_ratio.value,
                                model.paired->perplexity_ratio.error, 5));
      cells.push_back(WithError(100 * same_top.value, 100 * same_top.error, 2));
    } else if (paired) {
      cells.insert(cells.end(), {"reference", "", ""});
    }
    if (diverges) {
      const auto& paired_summary = model.paired;
      cells.push_back(paired_summary
                          ? WithError(paired_summary->divergence->mean.value,
                                      paired_summary->divergence->mean.error, 5)
                          : "");
      cells.push_back(
          paired_summary
              ? absl::StrFormat("%.4f", paired_summary->divergence->p99)
              : "");
    }
    cells.push_back(absl::StrFormat("%.0f", model.tokens_per_second));
    table.AddRow(std::move(cells));
  }
  return table.Render();
}

}  // namespace

absl::string_view PrecisionName(Precision precision) {
  switch (precision) {
    case Precision::kExact:
      return "exact";
    case Precision::kFast:
      return "fast";
    case Precision::kReproducible:
      return "reproducible";
  }
  return "";
}

std::string DeviceName(const std::optional<Device>& device) {
  return device.has_value() ? device->Description() : kProcessor;
}

std::string PrecisionText(Precision precision, const std::string& device) {
  return absl::StrCat(PrecisionName(precision), " precision",
                      device == kProcessor ? "" : absl::StrCat(" on ", device));
}

void AddWindowSettings(const WindowSettings& windows, JsonWriter* json) {
  json->Key("protocol").String(ProtocolName(windows.protocol));
  json->Key("context").Integer(windows.context);
  if (windows.protocol == Protocol::kHuggingFace) {
    json->Key("stride").Integer(windows.stride);
  }
  json->Key("max_windows");
  windows.max_windows < 0 ? json->Null() : json->Integer(windows.max_windows);
}

std::string ReportJson(const PerplexityReport& report) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  AddSettings(report, &json);
  AddWindowTokens(report, &json);
  json.Key("models").BeginArray();
  for (const ModelReport& model : report.models) {
    AddModel(model, &json);
  }
  json.EndArray();
  json.EndObject();
  return absl::StrCat(json.text(), "\n");
}

std::string RenderReport(const PerplexityReport& report) {
  std::string text = absl::StrCat(Settings(report), Table(report));
  if (report.models.size() == 1) {
    const BlockEstimate& e = report.models.front().summary.perplexity;
    text += absl::StrFormat("\nFinal estimate: PPL = %.4f +/- %.5f\n", e.value,
                            e.error);
  }
  return text;
}

}  // namespace narrow
