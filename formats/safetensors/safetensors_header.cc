#include "formats/safetensors/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "formats/base/lfs_pointer.h"
#include "formats/base/status.h"
#include "formats/json/json.h"
#include "formats/json/json_writer.h"
#include "formats/safetensors/safetensors_format.h"

namespace narrow {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "numbers are copied as they lie in memory");

// The name precedes what went wrong, and the file follows it.
absl::Status TensorError(absl::string_view name, absl::string_view cause,
                         absl::string_view file) {
  return absl::DataLossError(absl::StrCat("tensor ", QuotedName(name), ": ",
                                          cause, "; reading ", file));
}

// Bytes of a tensor. Rows of types below a byte need not end on a byte, so
// this is TensorBytes of all elements in one row.
absl::StatusOr<int64_t> PackedBytes(QuantType type,
                                    absl::Span<const int64_t> shape) {
  ASSIGN_OR_RETURN(const int64_t n_elements, NumElements(shape));
  return TensorBytes(type, {n_elements});
}

// The JSON between the length and the data.
absl::StatusOr<absl::string_view> HeaderText(absl::Span<const uint8_t> bytes,
                                             absl::string_view file) {
  const auto error = [file](absl::string_view cause) {
    return absl::DataLossError(
        absl::StrCat(cause, "; at offset 0; reading ", file));
  };
  uint64_t length;
  if (bytes.size() < sizeof(length)) {
    return error(absl::StrCat("a file of ", bytes.size(),
                              " bytes is too short for safetensors"));
  }
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > static_cast<uint64_t>(kSafetensorsMaxHeaderBytes)) {
    return error(absl::StrCat("header length is ", length, ", at most ",
                              kSafetensorsMaxHeaderBytes, " are allowed"));
  }
  if (length > bytes.size() - sizeof(length)) {
    return error(absl::StrCat("header length is ", length,
                              ", the file has only ", bytes.size(),
                              " bytes (truncated?)"));
  }
  const absl::string_view text(
      reinterpret_cast<const char*>(bytes.data()) + sizeof(length),
      static_cast<size_t>(length));
  if (text.empty() || text[0] != '{') {
    return absl::DataLossError(absl::StrCat(
        "header does not begin with '{'; at offset 8; reading ", file));
  }
  return text;
}

absl::Status ReadMetadata(const JsonValue& value, Metadata* metadata) {
  if (value.is_null()) {  // as the reference reader has it
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto members, value.GetMembers());
  if (const auto repeated = value.FindRepeatedKey()) {
    return value.Error(absl::StrCat("duplicate key ", QuotedName(*repeated)));
  }
  for (const auto& [key, text] : members) {
    ASSIGN_OR_RETURN(const absl::string_view string, text.GetString());
    metadata->Set(key, std::string(string));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> ReadSizes(const JsonValue& array) {
  ASSIGN_OR_RETURN(const std::vector<JsonValue> values, array.GetElements());
  std::vector<int64_t> sizes;
  for (const JsonValue& value : values) {
    ASSIGN_OR_RETURN(const int64_t size, value.GetInteger());
    if (size < 0) {
      return value.Error(absl::StrCat("negative number ", size));
    }
    sizes.push_back(size);
  }
  return sizes;
}

absl::StatusOr<QuantType> ReadDtype(const JsonValue& info) {
  ASSIGN_OR_RETURN(const JsonValue value, info.Get("dtype"));
  ASSIGN_OR_RETURN(const absl::string_view dtype, value.GetString());
  const std::optional<QuantType> type = TypeFromSafetensorsDtype(dtype);
  if (!type.has_value()) {
    return absl::UnimplementedError(
        absl::StrCat("unknown dtype ", QuotedName(dtype), "; ",
                     value.Error("").message().substr(2)));
  }
  return *type;
}

// The tensor of one member, its data within `data`.
absl::StatusOr<TensorView> ReadTensor(absl::string_view name,
                                      const JsonValue& info,
                                      absl::Span<const uint8_t> data,
                                      int64_t data_begin,
                                      absl::string_view file) {
  TensorView view;
  view.meta.name = std::string(name);
  if (const auto repeated = info.FindRepeatedKey()) {
    return info.Error(absl::StrCat("duplicate key ", QuotedName(*repeated)));
  }
  ASSIGN_OR_RETURN(view.meta.type, ReadDtype(info));
  ASSIGN_OR_RETURN(const JsonValue shape, info.Get("shape"));
  ASSIGN_OR_RETURN(view.meta.shape, ReadSizes(shape));
  ASSIGN_OR_RETURN(const JsonValue offsets_value, info.Get("data_offsets"));
  ASSIGN_OR_RETURN(const std::vector<int64_t> offsets,
                   ReadSizes(offsets_value));
  if (offsets.size() != 2) {
    return offsets_value.Error(
        absl::StrCat("expected 2 offsets, found ", offsets.size()));
  }
  if (offsets[0] > offsets[1] ||
      offsets[1] > static_cast<int64_t>(data.size())) {
    return TensorError(
        name,
        absl::StrCat("data offsets ", ShapeString(offsets),
                     " do not lie within the ", data.size(),
                     " bytes after the header (truncated?); at offset ",
                     data_begin),
        file);
  }
  const auto n_bytes = PackedBytes(view.meta.type, view.meta.shape);
  if (!n_bytes.ok()) {
    return TensorError(name,
                       absl::StrCat(n_bytes.status().message(), "; at offset ",
                                    data_begin + offsets[0]),
                       file);
  }
  if (*n_bytes != offsets[1] - offsets[0]) {
    return TensorError(
        name,
        absl::StrCat(TypeName(view.meta.type), " ",
                     ShapeString(view.meta.shape), " needs ", *n_bytes,
                     " bytes, header gives ", offsets[1] - offsets[0],
                     "; at offset ", data_begin + offsets[0]),
        file);
  }
  view.data = data.subspan(static_cast<size_t>(offsets[0]),
                           static_cast<size_t>(*n_bytes));
  view.origin = {std::string(file), data_begin + offsets[0]};
  return view;
}

// Sorts by place and checks that the data are covered exactly once.
absl::Status CheckCover(std::vector<TensorView>* tensors, int64_t data_begin,
                        int64_t file_bytes, absl::string_view file) {
  std::stable_sort(tensors->begin(), tensors->end(),
                   [](const TensorView& a, const TensorView& b) {
                     return std::make_pair(a.origin.offset, a.data.size()) <
                            std::make_pair(b.origin.offset, b.data.size());
                   });
  int64_t end = data_begin;
  for (const TensorView& tensor : *tensors) {
    if (tensor.origin.offset != end) {
      return TensorError(
          tensor.meta.name,
          absl::StrCat(tensor.origin.offset < end
                           ? "overlaps the tensor before it: begins at offset "
                           : "leaves a hole before it: begins at offset ",
                       tensor.origin.offset, ", expected ", end),
          file);
    }
    end += static_cast<int64_t>(tensor.data.size());
  }
  if (end != file_bytes) {
    return absl::DataLossError(absl::StrCat("the tensors end at offset ", end,
                                            ", the file at ", file_bytes,
                                            "; reading ", file));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(
    absl::Span<const uint8_t> bytes, absl::string_view file) {
  RETURN_IF_ERROR(CheckNotLfsPointer(bytes, file));
  ASSIGN_OR_RETURN(const absl::string_view text, HeaderText(bytes, file));
  ASSIGN_OR_RETURN(const auto json, JsonDocument::Parse(text, file));
  const JsonValue root = json->root();
  ASSIGN_OR_RETURN(const auto members, root.GetMembers());
  if (const auto repeated = root.FindRepeatedKey()) {
    return root.Error(absl::StrCat("duplicate tensor ", QuotedName(*repeated)));
  }
  const size_t data_begin = sizeof(uint64_t) + text.size();
  SafetensorsHeader header;
  for (const auto& [name, info] : members) {
    if (name == kSafetensorsMetadataKey) {
      RETURN_IF_ERROR(ReadMetadata(info, &header.metadata));
      continue;
    }
    ASSIGN_OR_RETURN(TensorView tensor,
                     ReadTensor(name, info, bytes.subspan(data_begin),
                                static_cast<int64_t>(data_begin), file));
    header.tensors.push_back(std::move(tensor));
  }
  RETURN_IF_ERROR(CheckCover(&header.tensors, static_cast<int64_t>(data_begin),
                             static_cast<int64_t>(bytes.size()), file));
  return header;
}

namespace {

absl::Status PutMetadata(const Metadata& metadata, JsonWriter* json) {
  json->Key(kSafetensorsMetadataKey).BeginObject();
  for (const auto& [key, value] : metadata.entries()) {
    if (!std::holds_alternative<std::string>(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("metadata ", QuotedName(key),
                       " is not a string, which safetensors cannot hold"));
    }
    json->Key(key).String(std::get<std::string>(value));
  }
  json->EndObject();
  return absl::OkStatus();
}

absl::Status CheckMeta(const TensorMeta& meta) {
  const std::string what = absl::StrCat("tensor ", QuotedName(meta.name));
  if (meta.name == kSafetensorsMetadataKey) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " has the name kept for metadata"));
  }
  if (Geometry(meta.type).safetensors_dtype[0] == '\0') {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " has type ", TypeName(meta.type),
                     ", which safetensors cannot hold"));
  }
  return absl::OkStatus();
}

void PutTensor(const TensorMeta& meta, int64_t begin, int64_t end,
               JsonWriter* json) {
  json->Key(meta.name).BeginObject();
  json->Key("dtype").String(Geometry(meta.type).safetensors_dtype);
  json->Key("shape").BeginArray();
  for (const int64_t size : meta.shape) {
    json->Integer(size);
  }
  json->EndArray().Key("data_offsets").BeginArray();
  json->Integer(begin).Integer(end).EndArray().EndObject();
}

}  // namespace

absl::StatusOr<SafetensorsLayout> LayOutSafetensors(
    absl::Span<const TensorMeta> metas, const Metadata& metadata) {
  constexpr int64_t kMaxFileBytes = int64_t{1} << 62;
  SafetensorsLayout layout;
  JsonWriter json(JsonWriter::kCompact);
  json.BeginObject();
  if (metadata.size() > 0) {
    RETURN_IF_ERROR(PutMetadata(metadata, &json));
  }
  absl::flat_hash_set<absl::string_view> names;
  int64_t offset = 0;
  for (const TensorMeta& meta : metas) {
    RETURN_IF_ERROR(CheckMeta(meta));
    if (!names.insert(meta.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("duplicate tensor ", QuotedName(meta.name)));
    }
    const auto n_bytes = PackedBytes(meta.type, meta.shape);
    if (!n_bytes.ok() || *n_bytes > kMaxFileBytes - offset) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", QuotedName(meta.name), ": ",
                       n_bytes.ok() ? "the file would exceed 2^62 bytes"
                                    : n_bytes.status().message()));
    }
    PutTensor(meta, offset, offset + *n_bytes, &json);
    layout.n_bytes.push_back(*n_bytes);
    offset += *n_bytes;
  }
  json.EndObject();
  std::string text = json.text();
  text.resize((text.size() + kSafetensorsHeaderAlignment - 1) /
                  kSafetensorsHeaderAlignment * kSafetensorsHeaderAlignment,
              ' ');
  if (text.size() > static_cast<size_t>(kSafetensorsMaxHeaderBytes)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the header would have ", text.size(), " bytes, safetensors allows ",
        kSafetensorsMaxHeaderBytes));
  }
  const uint64_t length = text.size();
  layout.header.assign(reinterpret_cast<const char*>(&length), sizeof(length));
  layout.header += text;
  layout.file_bytes = static_cast<int64_t>(layout.header.size()) + offset;
  return layout;
}

}  // namespace narrow
