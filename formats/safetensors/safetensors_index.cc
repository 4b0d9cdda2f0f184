#include "formats/safetensors/safetensors_index.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/status.h"
#include "formats/json/json.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

bool IsPlainName(absl::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find('/') == absl::string_view::npos &&
         name.find('\0') == absl::string_view::npos;
}

}  // namespace

absl::StatusOr<SafetensorsIndex> ReadSafetensorsIndex(absl::string_view path) {
  ASSIGN_OR_RETURN(const auto json, JsonDocument::ReadFile(path));
  ASSIGN_OR_RETURN(const JsonValue map, json->root().Get("weight_map"));
  ASSIGN_OR_RETURN(const auto members, map.GetMembers());
  if (const auto repeated = map.FindRepeatedKey()) {
    return map.Error(absl::StrCat("duplicate tensor ", QuotedName(*repeated)));
  }
  SafetensorsIndex index;
  for (const auto& [tensor, value] : members) {
    ASSIGN_OR_RETURN(const absl::string_view file, value.GetString());
    if (!IsPlainName(file)) {
      return value.Error(absl::StrCat("file name ", QuotedName(file),
                                      " is not a plain one and may lead out of "
                                      "the model's folder"));
    }
    index.weight_map.emplace_back(std::string(tensor), std::string(file));
  }
  if (index.weight_map.empty()) {
    return map.Error("the index names no tensor");
  }
  if (const auto metadata = json->root().Find("metadata")) {
    const auto total = metadata->Find("total_size");
    if (total.has_value() && total->is_integer()) {
      ASSIGN_OR_RETURN(index.total_size, total->GetInteger());
    }
  }
  return index;
}

std::string SafetensorsIndexText(const SafetensorsIndex& index) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("metadata").BeginObject();
  json.Key("total_size").Integer(index.total_size).EndObject();
  json.Key("weight_map").BeginObject();
  for (const auto& [tensor, file] : index.weight_map) {
    json.Key(tensor).String(file);
  }
  json.EndObject().EndObject();
  return absl::StrCat(json.text(), "\n");
}

std::string SafetensorsShardName(size_t index, size_t n_shards) {
  return absl::StrFormat("model-%05d-of-%05d.safetensors", index + 1, n_shards);
}

}  // namespace narrow
