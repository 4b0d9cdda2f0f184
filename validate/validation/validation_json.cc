#include "validate/validation/validation_json.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/json/json_writer.h"
#include "validate/perplexity/report.h"
#include "validate/sanity/sanity.h"

namespace narrow {
namespace {

void AddFigure(const char* name, const Figure& figure, JsonWriter* json) {
  json->Key(name).BeginObject();
  json->Key("value").Number(figure.value);
  json->Key("error").Number(figure.error);
  json->Key("window_error").Number(figure.window_error);
  json->Key("bootstrap_error").Number(figure.bootstrap_error);
  json->Key("low").Number(figure.low);
  json->Key("high").Number(figure.high);
  json->EndObject();
}

// Keys are the percentages below: "0", "0.1", … "100".
void AddQuantiles(const char* name, const Quantiles& quantiles,
                  JsonWriter* json) {
  json->Key(name).BeginObject();
  for (size_t i = 0; i < quantiles.size(); ++i) {
    json->Key(absl::StrFormat("%g", 100 * kQuantileShares[i]))
        .Number(quantiles[i]);
  }
  json->EndObject();
}

void AddComparison(const Comparison& c, JsonWriter* json) {
  json->Key("windows").Integer(c.n_windows);
  json->Key("tokens_scored").Integer(c.n_tokens);
  AddFigure("perplexity", c.perplexity, json);
  AddFigure("reference_perplexity", c.reference_perplexity, json);
  json->Key("log_perplexity_correlation").Number(c.log_correlation);
  AddFigure("log_perplexity_ratio", c.log_ratio, json);
  AddFigure("perplexity_ratio", c.ratio, json);
  AddFigure("perplexity_difference", c.difference, json);
  AddFigure("kl_divergence", c.divergence, json);
  AddQuantiles("kl_divergence_percentiles", c.divergence_quantiles, json);
  AddFigure("delta_p", c.delta_p, json);
  AddQuantiles("delta_p_percentiles", c.delta_p_quantiles, json);
  AddFigure("rms_delta_p", c.rms_delta_p, json);
  AddFigure("same_top", c.same_top, json);
}

template <typename Values>
void AddNumbers(const char* name, const Values& values, JsonWriter* json) {
  json->Key(name).BeginArray();
  for (const double value : values) {
    json->Number(value);
  }
  json->EndArray();
}

void AddStrings(const char* name, const std::vector<std::string>& values,
                JsonWriter* json) {
  json->Key(name).BeginArray();
  for (const std::string& value : values) {
    json->String(value);
  }
  json->EndArray();
}

void AddCriteria(const std::vector<CriterionVerdict>& criteria,
                 JsonWriter* json) {
  json->Key("criteria").BeginArray();
  for (const CriterionVerdict& v : criteria) {
    json->BeginObject();
    json->Key("flag").String(CriterionFlag(v.criterion));
    json->Key("unit").String(CriterionUnit(v.criterion));
    json->Key("on").String(v.domain);
    json->Key("verdict").String(VerdictName(v.verdict));
    json->Key("limit").Number(v.limit);
    json->Key("value").Number(v.value);
    json->Key("pass_bound").Number(v.pass_bound);
    json->Key("fail_bound").Number(v.fail_bound);
    json->Key("pass_rate").Number(v.pass_rate);
    json->Key("fail_rate").Number(v.fail_rate);
    json->Key("used").Integer(v.n_used);
    json->Key("needed");
    v.n_needed ? json->Integer(*v.n_needed) : json->Null();
    json->EndObject();
  }
  json->EndArray();
}

void AddVerdict(const std::optional<Verdict>& verdict, JsonWriter* json) {
  json->Key("verdict");
  verdict ? json->String(VerdictName(*verdict)) : json->Null();
}

void AddLimit(const char* name, const std::optional<double>& limit,
              JsonWriter* json) {
  if (limit) {
    json->Key(name).Number(*limit);
  }
}

void AddSettings(const ValidationReport& report, JsonWriter* json) {
  json->Key("settings").BeginObject();
  AddWindowSettings(report.windows, json);
  json->Key("precision").String(PrecisionName(report.precision));
  json->Key("threads").Integer(report.n_threads);
  json->Key("device").String(report.device);
  json->Key("early_stop").Bool(report.early_stop);
  json->Key("seed").Unsigned(report.seed);
  json->EndObject();
  if (!report.limits.any()) {
    return;
  }
  const GateLimits& limits = report.limits;
  json->Key("gate").BeginObject();
  json->Key("error_rate").Number(limits.error_rate);
  AddLimit("max_perplexity_ratio", limits.max_perplexity_ratio, json);
  AddLimit("max_perplexity_difference", limits.max_perplexity_difference, json);
  AddLimit("max_kl_divergence", limits.max_divergence, json);
  AddLimit("max_rms_delta_p", limits.max_rms_delta_p, json);
  AddLimit("min_same_top", limits.min_same_top, json);
  AddLimit("min_task_delta", limits.min_task_delta, json);
  json->EndObject();
}

void AddModel(const ValidatedModel& model, JsonWriter* json) {
  json->Key("path").String(model.path);
  if (!model.hash.empty()) {
    json->Key("sha256").String(model.hash);
    json->Key("tensor_bytes").Integer(model.tensor_bytes);
    json->Key("weights").Integer(model.n_weights);
    json->Key("bits_per_weight").Number(model.bits_per_weight());
  }
}

void AddTexts(const ValidationReport& report, JsonWriter* json) {
  json->Key("texts").BeginArray();
  for (const ValidatedDomain& domain : report.domains) {
    json->BeginObject();
    json->Key("name").String(domain.name);
    AddStrings("files", domain.paths, json);
    if (!domain.text_hash.empty()) {
      json->Key("sha256").String(domain.text_hash);
      json->Key("bytes").Integer(domain.text_bytes);
    }
    json->Key("tokens").Integer(domain.n_tokens);
    json->Key("windows").Integer(domain.n_windows);
    json->Key("windows_begin_with_bos").Bool(domain.windows_begin_with_bos);
    json->EndObject();
  }
  json->EndArray();
}

void AddReference(const ValidationReport& report, JsonWriter* json) {
  json->Key("reference").BeginObject();
  AddModel(report.original, json);
  json->Key("is_base_file").Bool(report.reference_is_base_file);
  json->Key("seconds").Number(report.reference_seconds);
  json->Key("tokens_run").Integer(report.n_reference_tokens);
  json->Key("hidden_state_bytes").Integer(report.hidden_bytes);
  json->EndObject();
}

void AddErrorSums(const ErrorSums& sums, JsonWriter* json) {
  json->Key("relative_error").Number(sums.relative());
  json->Key("bits_per_weight").Number(sums.bits_per_weight());
}

void AddWeights(const WeightErrors& weights, JsonWriter* json) {
  json->Key("weights_against_original").BeginObject();
  json->Key("rescaled").Bool(weights.rescaled);
  AddErrorSums(weights.all, json);
  AddStrings("not_compared", weights.not_compared, json);
  json->Key("layers").BeginArray();
  for (const LayerError& layer : weights.layers) {
    json->BeginObject();
    json->Key("name").String(layer.name);
    AddErrorSums(layer.sums, json);
    json->EndObject();
  }
  json->EndArray();
  json->Key("tensors").BeginArray();
  for (const TensorError& tensor : weights.tensors) {
    json->BeginObject();
    json->Key("name").String(tensor.name);
    AddErrorSums(tensor.sums, json);
    json->EndObject();
  }
  json->EndArray();
  json->EndObject();
}

void AddCandidate(const CandidateReport& candidate, JsonWriter* json) {
  json->BeginObject();
  AddModel(candidate.model, json);
  AddVerdict(candidate.verdict, json);
  AddCriteria(candidate.criteria, json);
  if (candidate.sanity) {
    AddSanityJson(*candidate.sanity, json);
  }
  json->Key("seconds").Number(candidate.seconds);
  json->Key("tokens_run").Integer(candidate.n_run_tokens);
  json->Key("texts").BeginArray();
  for (const DomainComparison& domain : candidate.domains) {
    json->BeginObject();
    json->Key("name").String(domain.domain);
    AddComparison(domain.figures, json);
    AddNumbers("window_tokens", domain.window_tokens, json);
    AddNumbers("window_log_perplexity_ratio", domain.window_log_ratio, json);
    AddNumbers("window_kl_divergence", domain.window_divergence, json);
    json->EndObject();
  }
  json->EndArray();
  if (candidate.overall) {
    json->Key("all_texts").BeginObject();
    AddComparison(*candidate.overall, json);
    json->EndObject();
  }
  if (candidate.weights) {
    AddWeights(*candidate.weights, json);
  }
  json->EndObject();
}

}  // namespace

std::string ValidationJson(const ValidationReport& report,
                           const TaskJsonOptions& tasks) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  AddVerdict(report.verdict, &json);
  AddSettings(report, &json);
  AddStrings("warnings", report.warnings, &json);
  AddTexts(report, &json);
  AddReference(report, &json);
  json.Key("candidates").BeginArray();
  for (const CandidateReport& candidate : report.candidates) {
    AddCandidate(candidate, &json);
  }
  json.EndArray();
  json.Key("tasks");
  AddTaskReportsJson(report.tasks, tasks, &json);
  json.EndObject();
  return absl::StrCat(json.text(), "\n");
}

}  // namespace narrow
