// Tested by: loss_table_test.

#include "converter/allocation/loss_table.h"

#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/json/json.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

constexpr int64_t kVersion = 1;

std::string PrintText(uint64_t fingerprint) {
  return absl::StrFormat("%016x", fingerprint);
}

absl::StatusOr<std::map<QuantType, double>> ReadLosses(const JsonValue& value,
                                                       absl::string_view name) {
  std::map<QuantType, double> losses;
  ASSIGN_OR_RETURN(const auto members, value.GetMembers());
  for (const auto& [type_name, loss_value] : members) {
    const std::optional<QuantType> type = TypeFromName(type_name);
    ASSIGN_OR_RETURN(const double loss, loss_value.GetNumber());
    if (!type.has_value() || !std::isfinite(loss) || loss < 0) {
      return absl::DataLossError(absl::StrCat("tensor ", QuotedName(name),
                                              " as ", QuotedName(type_name),
                                              ": loss ", loss));
    }
    losses[*type] = loss;
  }
  return losses;
}

}  // namespace

absl::Status WriteLossTable(const LossTable& table, const std::string& path) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("narrow_probe").Integer(kVersion);
  json.Key("fingerprint").String(PrintText(table.fingerprint));
  json.Key("factors").BeginObject();
  for (const auto& [way, factor] : table.factors) {
    json.Key(way).Number(factor);
  }
  json.EndObject();
  json.Key("tensors").BeginObject();
  for (const auto& [name, losses] : table.tensors) {
    json.Key(name).BeginObject();
    for (const auto& [type, loss] : losses) {
      json.Key(TypeName(type)).Number(loss);
    }
    json.EndObject();
  }
  json.EndObject().EndObject();
  return WriteTextFile(path, json.text() + "\n");
}

absl::StatusOr<LossTable> ReadLossTable(const std::string& path,
                                        uint64_t fingerprint) {
  if (!FileExists(path)) {
    return absl::NotFoundError(absl::StrCat("there is no file ", path));
  }
  ASSIGN_OR_RETURN(const auto document, JsonDocument::ReadFile(path));
  const JsonValue root = document->root();
  const auto version = root.Find("narrow_probe");
  if (!version || !version->is_integer() ||
      version->GetInteger().value_or(0) != kVersion) {
    return absl::DataLossError(absl::StrCat(
        "not losses of tensors, or those of another version; reading ", path));
  }
  LossTable table;
  table.fingerprint = fingerprint;
  ASSIGN_OR_RETURN(const JsonValue print, root.Get("fingerprint"));
  ASSIGN_OR_RETURN(const absl::string_view text, print.GetString());
  if (text != PrintText(fingerprint)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "these losses are of another model, other text, types or options; "
        "reading ",
        path));
  }
  ASSIGN_OR_RETURN(const JsonValue factors, root.Get("factors"));
  ASSIGN_OR_RETURN(const auto ways, factors.GetMembers());
  for (const auto& [way, value] : ways) {
    ASSIGN_OR_RETURN(const double factor, value.GetNumber());
    if (!std::isfinite(factor) || factor <= 0) {
      return absl::DataLossError(absl::StrCat(
          "factor ", factor, " for ", QuotedName(way), "; reading ", path));
    }
    table.factors[std::string(way)] = factor;
  }
  ASSIGN_OR_RETURN(const JsonValue tensors, root.Get("tensors"));
  ASSIGN_OR_RETURN(const auto members, tensors.GetMembers());
  for (const auto& [name, losses] : members) {
    auto read = ReadLosses(losses, name);
    RETURN_IF_ERROR(Annotate(read.status(), absl::StrCat("reading ", path)));
    table.tensors[std::string(name)] = *std::move(read);
  }
  return table;
}

}  // namespace narrow
