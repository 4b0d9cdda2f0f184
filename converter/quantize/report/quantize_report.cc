#include "converter/quantize/report/quantize_report.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "converter/progress.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

double BitsPerWeight(const QuantizePlan& plan) {
  return plan.n_weights == 0 ? 0
                             : 8.0 * static_cast<double>(plan.tensor_bytes) /
                                   static_cast<double>(plan.n_weights);
}

const char* PackingName(const QuantizePlan& plan) {
  return plan.packing == nullptr ? "none" : plan.packing->name;
}

void WriteShape(const std::vector<int64_t>& shape, JsonWriter* json) {
  json->Key("shape").BeginArray();
  for (const int64_t size : shape) {
    json->Integer(size);
  }
  json->EndArray();
}

void WriteLayers(const QuantizePlan& plan, const QuantizeOutcome& outcome,
                 JsonWriter* json) {
  const std::vector<LayerReport>& reports = outcome.result.reports;
  json->Key("layers").BeginArray();
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const PlannedLayer& layer = plan.layers[i];
    json->BeginObject();
    json->Key("name").String(layer.name());
    WriteShape(layer.linear->view->meta.shape, json);
    json->Key("method").String(layer.method->name);
    json->Key("solver").String(layer.solver->name);
    json->Key("scheme").String(SchemeName(layer.scheme));
    json->Key("bits").Integer(layer.scheme.bits);
    json->Key("bytes").Integer(layer.n_bytes);
    json->Key("reason").String(layer.reason);
    if (i < reports.size() && !reports[i].name.empty()) {
      const LayerReport& report = reports[i];
      json->Key("relative_error").Number(report.relative_error);
      json->Key("relative_error_rounding").Number(report.error_rounding);
      json->Key("damping").Number(report.damping);
      if (report.transformed) {
        json->Key("transform_ratio").Number(report.transform_ratio);
      }
      if (report.n_tokens >= 0) {
        json->Key("tokens").Integer(report.n_tokens);
        json->Key("shrinkage").Number(report.shrinkage);
      }
      json->Key("notes").BeginArray();
      for (const std::string& note : report.notes) {
        json->String(note);
      }
      json->EndArray();
    }
    json->EndObject();
  }
  json->EndArray();
}

void WriteDense(const QuantizePlan& plan, JsonWriter* json) {
  json->Key("dense").BeginArray();
  for (const DenseLayer& layer : plan.dense) {
    json->BeginObject();
    json->Key("name").String(layer.linear->view->meta.name);
    json->Key("reason").String(layer.reason);
    json->Key("refused").Bool(layer.refused);
    json->EndObject();
  }
  json->EndArray();
}

void WriteTensors(const QuantizePlan& plan, JsonWriter* json) {
  json->Key("files").BeginArray();
  for (const OutputShard& shard : plan.shards) {
    json->BeginObject();
    json->Key("name").String(shard.name);
    json->Key("bytes").Integer(shard.file_bytes);
    json->Key("tensors").Integer(static_cast<int64_t>(shard.n));
    json->EndObject();
  }
  json->EndArray();
  json->Key("tensors").BeginArray();
  for (const OutputTensor& tensor : plan.tensors) {
    json->BeginObject();
    json->Key("name").String(tensor.meta.name);
    json->Key("type").String(TypeName(tensor.meta.type));
    WriteShape(tensor.meta.shape, json);
    json->Key("bytes").Integer(tensor.meta.n_bytes());
    json->EndObject();
  }
  json->EndArray();
}

void WriteMeasured(const MeasuredLoss& loss, JsonWriter* json) {
  json->Key("measured").BeginObject();
  json->Key("text").String(loss.text);
  json->Key("tokens").Integer(loss.n_tokens);
  json->Key("perplexity_original").Number(loss.perplexity_original);
  json->Key("perplexity").Number(loss.perplexity);
  if (loss.has_divergence) {
    json->Key("kl_divergence").Number(loss.divergence);
  }
  json->EndObject();
}

// What a layer's report notes, each with how many layers have it.
std::vector<std::string> NoteLines(const std::vector<LayerReport>& reports) {
  std::map<std::string, std::pair<int, std::string>> notes;
  for (const LayerReport& report : reports) {
    for (const std::string& note : report.notes) {
      auto& [n, first] = notes[note];
      first = n++ == 0 ? report.name : first;
    }
  }
  std::vector<std::string> lines;
  for (const auto& [note, where] : notes) {
    lines.push_back(absl::StrCat(
        where.second,
        where.first == 1 ? "" : absl::StrCat(" and ", where.first - 1, " more"),
        ": ", note));
  }
  return lines;
}

}  // namespace

ErrorSpread SpreadOf(const std::vector<LayerReport>& reports) {
  ErrorSpread spread;
  std::vector<double> errors;
  for (const LayerReport& report : reports) {
    if (report.name.empty()) {
      continue;
    }
    errors.push_back(report.relative_error);
    spread.mean += report.relative_error;
    spread.mean_rounding += report.error_rounding;
    if (report.relative_error >= spread.largest) {
      spread.largest = report.relative_error;
      spread.largest_name = report.name;
    }
  }
  spread.n = static_cast<int>(errors.size());
  if (spread.n > 0) {
    std::sort(errors.begin(), errors.end());
    spread.median = errors[errors.size() / 2];
    spread.mean /= spread.n;
    spread.mean_rounding /= spread.n;
  }
  return spread;
}

std::string QuantizeTable(const QuantizePlan& plan) {
  constexpr char kRow[] = "%-52s %-16s %-5s %-9s %-26s %12s  %s\n";
  std::string text = absl::StrFormat(kRow, "tensor", "shape", "from", "solver",
                                     "scheme", "bytes", "reason");
  std::map<const TensorView*, const DenseLayer*> dense;
  for (const DenseLayer& layer : plan.dense) {
    dense[layer.linear->view] = &layer;
  }
  for (const PlannedLayer& layer : plan.layers) {
    absl::StrAppendFormat(&text, kRow, OneLine(layer.name()),
                          ShapeString(layer.linear->view->meta.shape),
                          TypeName(layer.linear->view->meta.type),
                          layer.solver->name, SchemeName(layer.scheme),
                          absl::StrCat(layer.n_bytes), layer.reason);
  }
  for (const OutputTensor& tensor : plan.tensors) {
    if (tensor.kind == OutputTensor::Kind::kPlane) {
      continue;
    }
    const auto it = dense.find(tensor.view);
    absl::StrAppendFormat(
        &text, kRow, OneLine(tensor.meta.name), ShapeString(tensor.meta.shape),
        TypeName(tensor.view->meta.type), "-", TypeName(tensor.meta.type),
        absl::StrCat(tensor.meta.n_bytes()),
        it != dense.end() ? OneLine(it->second->reason)
        : tensor.kind == OutputTensor::Kind::kEncode ? "decoded or converted"
                                                     : "copied");
  }
  return text;
}

std::string QuantizeSummary(const QuantizePlan& plan,
                            const QuantizeOutcome& outcome) {
  std::string text = absl::StrCat(
      outcome.dry_run ? "would write " : "wrote ", outcome.out, ": ",
      plan.file_bytes, " bytes (", FormatBytes(plan.file_bytes), ") of ",
      FormatBytes(plan.input_bytes), ", ",
      absl::StrFormat("%.4f", BitsPerWeight(plan)), " bits per weight");
  if (plan.packing != nullptr) {
    std::map<std::string, int> schemes;
    for (const PlannedLayer& layer : plan.layers) {
      ++schemes[SchemeName(layer.scheme)];
    }
    absl::StrAppend(&text, "; ", plan.layers.size(), " layers as ",
                    plan.packing->name, " (",
                    absl::StrJoin(schemes, ", ", absl::PairFormatter(" x ")),
                    "), ", plan.dense.size(), " matrices stay dense");
  }
  text += "\n";
  if (plan.shards.size() > 1) {
    for (const OutputShard& shard : plan.shards) {
      absl::StrAppend(&text, "  ", shard.name, ": ", shard.file_bytes,
                      " bytes, ", shard.n, " tensors\n");
    }
  }
  if (plan.n_refused() > 0) {
    constexpr int kShown = 5;
    absl::StrAppend(&text, plan.n_refused(),
                    " layers cannot be packed and stay dense:\n");
    int n = 0;
    for (const DenseLayer& layer : plan.dense) {
      if (layer.refused && n++ < kShown) {
        absl::StrAppend(&text, "  ", OneLine(layer.linear->module), ": ",
                        OneLine(layer.reason), "\n");
      }
    }
    if (n > kShown) {
      absl::StrAppend(&text, "  and ", n - kShown,
                      " more; --json lists them\n");
    }
  }
  const QuantizeResult& result = outcome.result;
  if (result.n_blocks_resumed > 0) {
    absl::StrAppend(&text, result.n_blocks_resumed,
                    " blocks were done by a run that was stopped\n");
  }
  const ErrorSpread spread = SpreadOf(result.reports);
  if (spread.n > 0) {
    absl::StrAppendFormat(
        &text,
        "relative error: mean %.5f (round to nearest: %.5f), median %.5f, "
        "largest %.5f in %s\n",
        spread.mean, spread.mean_rounding, spread.median, spread.largest,
        OneLine(spread.largest_name));
  }
  constexpr size_t kNotes = 10;
  const std::vector<std::string> notes = NoteLines(result.reports);
  for (size_t i = 0; i < notes.size() && i < kNotes; ++i) {
    absl::StrAppend(&text, "note: ", OneLine(notes[i]), "\n");
  }
  if (notes.size() > kNotes) {
    absl::StrAppend(&text, "and ", notes.size() - kNotes,
                    " more notes; --json lists them\n");
  }
  if (outcome.measured.has_value()) {
    const MeasuredLoss& loss = *outcome.measured;
    absl::StrAppendFormat(&text, "perplexity of %s: %.4f, original %.4f",
                          loss.text, loss.perplexity, loss.perplexity_original);
    if (loss.has_divergence) {
      absl::StrAppendFormat(&text, ", KL divergence %.5f", loss.divergence);
    }
    text += "\n";
  }
  return text;
}

std::string QuantizeJson(const QuantizePlan& plan,
                         const QuantizeOutcome& outcome) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("output").String(outcome.out);
  json.Key("dry_run").Bool(outcome.dry_run);
  json.Key("method").String(
      plan.packing == nullptr ? "none" : plan.recipe.rule().method());
  json.Key("format").String(PackingName(plan));
  json.Key("recipe").String(RecipeText(plan.recipe));
  json.Key("file_bytes").Integer(plan.file_bytes);
  json.Key("tensor_bytes").Integer(plan.tensor_bytes);
  json.Key("input_bytes").Integer(plan.input_bytes);
  json.Key("weights").Integer(plan.n_weights);
  json.Key("quantized_weights").Integer(plan.n_quantized);
  json.Key("bits_per_weight").Number(BitsPerWeight(plan));
  json.Key("refused").Integer(plan.n_refused());
  json.Key("calibration_samples").Integer(outcome.result.n_samples);
  json.Key("calibration_drawn_samples").Integer(outcome.result.n_drawn);
  json.Key("sample_tokens").Integer(outcome.result.sample_tokens);
  json.Key("resumed_blocks").Integer(outcome.result.n_blocks_resumed);
  const ErrorSpread spread = SpreadOf(outcome.result.reports);
  json.Key("mean_relative_error").Number(spread.mean);
  json.Key("mean_relative_error_rounding").Number(spread.mean_rounding);
  if (outcome.measured.has_value()) {
    WriteMeasured(*outcome.measured, &json);
  }
  json.Key("notes").BeginArray();
  for (const std::string& note : plan.notes) {
    json.String(note);
  }
  json.EndArray();
  WriteLayers(plan, outcome, &json);
  WriteDense(plan, &json);
  WriteTensors(plan, &json);
  json.Key("side_files").BeginArray();
  for (const std::string& name : outcome.result.side_files) {
    json.String(name);
  }
  json.EndArray();
  json.Key("seconds").Number(outcome.seconds);
  json.EndObject();
  return json.text();
}

}  // namespace narrow
