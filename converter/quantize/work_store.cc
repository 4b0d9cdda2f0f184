#include "converter/quantize/work_store.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "formats/base/file.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/status.h"
#include "formats/json/json.h"
#include "formats/json/json_writer.h"
#include "formats/safetensors/safetensors_reader.h"
#include "formats/safetensors/safetensors_writer.h"

namespace narrow {
namespace {

constexpr char kReportsKey[] = "reports";
constexpr char kChecksumKey[] = "checksum";

// Of a block's reports and its tensors' bytes, in the order of the file.
class BlockChecksum {
 public:
  explicit BlockChecksum(absl::string_view reports) {
    sum_.Add(reports.data(), reports.size());
  }
  void Add(absl::Span<const uint8_t> bytes) {
    sum_.Add(bytes.data(), bytes.size());
  }
  std::string text() const { return absl::StrFormat("%016x", sum_.value()); }

 private:
  Checksum sum_;
};

// A row for each number of a report: written and read alike.
struct NumberField {
  const char* key;
  double LayerReport::*value;
};
constexpr NumberField kNumbers[] = {
    {"relative_error", &LayerReport::relative_error},
    {"error_rounding", &LayerReport::error_rounding},
    {"damping", &LayerReport::damping},
    {"transform_ratio", &LayerReport::transform_ratio},
    {"shrinkage", &LayerReport::shrinkage},
};

absl::Status ReadReport(const JsonValue& json, LayerReport* report) {
  ASSIGN_OR_RETURN(const JsonValue name, json.Get("name"));
  ASSIGN_OR_RETURN(const absl::string_view text, name.GetString());
  report->name = std::string(text);
  for (const NumberField& field : kNumbers) {
    ASSIGN_OR_RETURN(const JsonValue value, json.Get(field.key));
    if (value.is_null()) {  // not finite
      report->*field.value = std::numeric_limits<double>::infinity();
      continue;
    }
    ASSIGN_OR_RETURN(report->*field.value, value.GetNumber());
  }
  ASSIGN_OR_RETURN(const JsonValue transformed, json.Get("transformed"));
  ASSIGN_OR_RETURN(report->transformed, transformed.GetBool());
  ASSIGN_OR_RETURN(const JsonValue tokens, json.Get("tokens"));
  if (tokens.is_null()) {
    report->n_tokens = -1;
  } else {
    ASSIGN_OR_RETURN(report->n_tokens, tokens.GetInteger());
  }
  ASSIGN_OR_RETURN(const JsonValue hash, json.Get("hash"));
  ASSIGN_OR_RETURN(const absl::string_view digits, hash.GetString());
  uint64_t value = 0;
  if (!absl::SimpleHexAtoi(digits, &value)) {
    return hash.Error("no hash");
  }
  report->hash = value;
  ASSIGN_OR_RETURN(const JsonValue notes, json.Get("notes"));
  ASSIGN_OR_RETURN(const std::vector<JsonValue> lines, notes.GetElements());
  for (const JsonValue& line : lines) {
    ASSIGN_OR_RETURN(const absl::string_view note, line.GetString());
    report->notes.emplace_back(note);
  }
  return absl::OkStatus();
}

}  // namespace

std::string LayerReportsJson(const std::vector<LayerReport>& reports) {
  JsonWriter json(JsonWriter::kCompact);
  json.BeginArray();
  for (const LayerReport& report : reports) {
    json.BeginObject();
    json.Key("name").String(report.name);
    for (const NumberField& field : kNumbers) {
      json.Key(field.key).Number(report.*field.value);
    }
    json.Key("transformed").Bool(report.transformed);
    json.Key("tokens");
    if (report.n_tokens < 0) {
      json.Null();
    } else {
      json.Integer(report.n_tokens);
    }
    json.Key("hash").String(absl::StrFormat("%016x", report.hash));
    json.Key("notes").BeginArray();
    for (const std::string& note : report.notes) {
      json.String(note);
    }
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
  return json.text();
}

absl::Status AddLayerReports(absl::string_view json, absl::string_view file,
                             std::vector<LayerReport>* reports) {
  ASSIGN_OR_RETURN(const auto document, JsonDocument::Parse(json, file));
  ASSIGN_OR_RETURN(const std::vector<JsonValue> rows,
                   document->root().GetElements());
  for (const JsonValue& row : rows) {
    RETURN_IF_ERROR(ReadReport(row, &reports->emplace_back()));
  }
  return absl::OkStatus();
}

std::string WorkStore::calibrator_path() const {
  return JoinPath(folder_, "calibrator");
}

std::string WorkStore::fisher_path() const {
  return JoinPath(folder_, "fisher");
}

std::string WorkStore::BlockPath(int64_t block) const {
  return JoinPath(folder_, absl::StrFormat("block-%05d.safetensors", block));
}

absl::Status WorkStore::Save(int64_t block, const BlockOutput& output) const {
  std::vector<TensorMeta> metas;
  for (const auto& [meta, bytes] : output.tensors) {
    metas.push_back(meta);
  }
  const std::string reports = LayerReportsJson(output.reports);
  BlockChecksum sum(reports);
  for (const auto& [meta, bytes] : output.tensors) {
    sum.Add(bytes);
  }
  Metadata metadata;
  metadata.Set(kReportsKey, reports);
  metadata.Set(kChecksumKey, sum.text());
  const std::unique_ptr<TensorSink> sink =
      NewSafetensorsWriter(BlockPath(block));
  RETURN_IF_ERROR(sink->Begin(metas, metadata));
  for (const auto& [meta, bytes] : output.tensors) {
    RETURN_IF_ERROR(sink->Append(bytes));
  }
  return sink->Finish();
}

absl::Status WorkStore::LoadBlock(const std::string& path) {
  ASSIGN_OR_RETURN(auto source, OpenSafetensors(path));
  const auto reports = source->metadata().GetString(kReportsKey);
  const auto checksum = source->metadata().GetString(kChecksumKey);
  if (!reports.has_value() || !checksum.has_value()) {
    return absl::DataLossError(
        absl::StrCat("no block of an unfinished run; reading ", path));
  }
  BlockChecksum sum(*reports);
  for (const TensorView& view : source->tensors()) {
    sum.Add(view.data);
  }
  if (sum.text() != *checksum) {
    return absl::DataLossError(absl::StrCat(
        "its bytes are not those that were written; reading ", path));
  }
  RETURN_IF_ERROR(AddLayerReports(*reports, path, &reports_));
  blocks_.push_back(std::move(source));
  return absl::OkStatus();
}

absl::Status WorkStore::Load(int64_t n_blocks) {
  blocks_.clear();
  reports_.clear();
  for (int64_t block = 0; block < n_blocks; ++block) {
    RETURN_IF_ERROR(
        Annotate(LoadBlock(BlockPath(block)), "begin anew with --restart"));
  }
  return absl::OkStatus();
}

const TensorView* WorkStore::Find(absl::string_view name) const {
  for (const auto& block : blocks_) {
    if (const TensorView* view = block->Find(name)) {
      return view;
    }
  }
  return nullptr;
}

}  // namespace narrow
