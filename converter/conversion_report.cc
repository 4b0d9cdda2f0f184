#include "converter/conversion_report.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "converter/fallbacks.h"
#include "converter/progress.h"
#include "formats/base/status.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

void WriteTensors(const Plan& plan, JsonWriter* json) {
  json->Key("tensors").BeginArray();
  for (const PlannedTensor& tensor : plan.tensors) {
    json->BeginObject();
    json->Key("name").String(tensor.meta.name);
    json->Key("shape").BeginArray();
    for (const int64_t size : tensor.meta.shape) {
      json->Integer(size);
    }
    json->EndArray();
    json->Key("from").String(TypeName(tensor.source->meta.type));
    json->Key("to").String(TypeName(tensor.meta.type));
    json->Key("bytes").Integer(tensor.meta.n_bytes());
    json->Key("wanted").String(TypeName(tensor.wanted));
    json->Key("fallback").Bool(tensor.fell_back());
    json->Key("importance").Bool(tensor.importance != nullptr);
    json->Key("reason").String(tensor.reason);
    json->EndObject();
  }
  json->EndArray();
}

void WriteFiles(const Output& output, JsonWriter* json) {
  const std::vector<std::string> files = FilesOf(output);
  json->Key("files").BeginArray();
  for (size_t i = 0; i < files.size(); ++i) {
    json->BeginObject();
    json->Key("path").String(files[i]);
    json->Key("bytes").Integer(output.plan->files[i].n_bytes);
    json->Key("tensors").Integer(output.plan->files[i].n_tensors);
    json->EndObject();
  }
  json->EndArray();
}

void WriteNames(absl::string_view key, const std::vector<std::string>& names,
                JsonWriter* json) {
  json->Key(key).BeginArray();
  for (const std::string& name : names) {
    json->String(name);
  }
  json->EndArray();
}

}  // namespace

std::vector<std::string> FilesOf(const Output& output) {
  const Plan& plan = *output.plan;
  std::vector<std::string> files;
  for (size_t i = 0; i < plan.files.size(); ++i) {
    files.push_back(FilePath(output.path, plan.split, i, plan.files.size()));
  }
  return files;
}

std::string TensorTable(const Plan& plan) {
  constexpr char kRow[] = "%-36s %-20s %-6s %-7s %s\n";
  std::string text =
      absl::StrFormat(kRow, "tensor", "shape", "from", "to", "reason");
  for (const PlannedTensor& tensor : plan.tensors) {
    absl::StrAppendFormat(&text, kRow, OneLine(tensor.meta.name),
                          ShapeString(tensor.meta.shape),
                          TypeName(tensor.source->meta.type),
                          TypeName(tensor.meta.type), tensor.reason);
  }
  return text;
}

std::string Summary(const Output& output, bool dry_run) {
  const Plan& plan = *output.plan;
  std::map<std::string, int> count;
  for (const PlannedTensor& tensor : plan.tensors) {
    ++count[TypeName(tensor.meta.type)];
  }
  std::string text = absl::StrCat(
      dry_run ? "would write " : "wrote ", output.path, ": ", plan.file_bytes,
      " bytes (", FormatBytes(plan.file_bytes), "), ",
      absl::StrFormat("%.4f", plan.bits_per_weight()), " bits per weight; ",
      absl::StrJoin(count, ", ", absl::PairFormatter(" x ")), "\n");
  if (plan.split.has_value()) {
    const std::vector<std::string> files = FilesOf(output);
    for (size_t i = 0; i < files.size(); ++i) {
      absl::StrAppend(&text, "  ", files[i], ": ", plan.files[i].n_bytes,
                      " bytes, ", plan.files[i].n_tensors, " tensors\n");
    }
  }
  for (const std::string& line : FallbackLines(plan)) {
    absl::StrAppend(&text, "  fell back: ", line, "\n");
  }
  return text;
}

std::vector<std::string> Warnings(const Plan& plan) {
  std::vector<std::string> warnings = plan.notes;
  const char* name = RecipeName(plan.recipe);
  if (plan.n_fallbacks > 0) {
    warnings.push_back(absl::StrCat(
        name, ": ", plan.n_fallbacks, " of ", plan.tensors.size(),
        " tensors fell back to another type, since their rows do not divide "
        "into its blocks; the summary lists them"));
  }
  if (!plan.without_importance.empty()) {
    warnings.push_back(absl::StrCat(
        name, ": the importance matrix has no entry for ",
        plan.without_importance.size(), " quantized tensors, ",
        plan.without_importance[0], " first; they are quantized without"));
  }
  if (!plan.partial_importance.empty()) {
    warnings.push_back(absl::StrCat(
        name, ": the importance matrix has no data for some experts of ",
        plan.partial_importance.size(), " tensors, ",
        plan.partial_importance[0], " first"));
  }
  return warnings;
}

std::string ConversionJson(
    absl::Span<const Output> outputs, double seconds, bool dry_run,
    const std::function<void(size_t output, JsonWriter*)>& more) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("dry_run").Bool(dry_run);
  json.Key("seconds").Number(seconds);
  json.Key("outputs").BeginArray();
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Output& output = outputs[i];
    const Plan& plan = *output.plan;
    json.BeginObject();
    json.Key("path").String(output.path);
    json.Key("file_type").String(RecipeName(plan.recipe));
    json.Key("file_bytes").Integer(plan.file_bytes);
    WriteFiles(output, &json);
    json.Key("tensor_bytes").Integer(plan.tensor_bytes);
    json.Key("weights").Integer(plan.n_weights);
    json.Key("bits_per_weight").Number(plan.bits_per_weight());
    json.Key("fallbacks").Integer(plan.n_fallbacks);
    WriteNames("without_importance", plan.without_importance, &json);
    WriteNames("partial_importance", plan.partial_importance, &json);
    WriteTensors(plan, &json);
    if (more) {
      more(i, &json);
    }
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.text();
}

}  // namespace narrow
