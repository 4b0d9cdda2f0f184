#include "formats/gguf/gguf_header.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "formats/base/lfs_pointer.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_format.h"

namespace narrow {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "numbers are copied as they lie in memory");

// Far above any vocabulary; bounds the memory that a damaged header of a
// large file can ask for.
constexpr size_t kMaxHeaderBytes = size_t{1} << 28;

// Reads forward and never past the end; errors name the place.
class Cursor {
 public:
  Cursor(absl::Span<const uint8_t> bytes, absl::string_view file)
      : bytes_(bytes.first(std::min(bytes.size(), kMaxHeaderBytes))),
        file_(file),
        is_cut_(bytes.size() > kMaxHeaderBytes) {}

  size_t offset() const { return offset_; }
  size_t remaining() const { return bytes_.size() - offset_; }
  absl::string_view file() const { return file_; }

  absl::Status Error(absl::string_view cause) const {
    return Error(absl::StatusCode::kDataLoss, cause);
  }

  absl::Status Error(absl::StatusCode code, absl::string_view cause) const {
    return absl::Status(code, absl::StrCat(cause, "; at offset ", offset_,
                                           "; reading ", file_));
  }

  template <typename T>
  absl::Status Read(absl::string_view what, T* value) {
    RETURN_IF_ERROR(Need(what, sizeof(T)));
    std::memcpy(value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return absl::OkStatus();
  }

  absl::Status ReadString(absl::string_view what, absl::string_view* text) {
    uint64_t length;
    RETURN_IF_ERROR(Read(what, &length));
    RETURN_IF_ERROR(Need(what, length));
    *text = absl::string_view(
        reinterpret_cast<const char*>(bytes_.data()) + offset_,
        static_cast<size_t>(length));
    offset_ += static_cast<size_t>(length);
    return absl::OkStatus();
  }

  // A count of things of at least `min_bytes` each, which must still fit.
  template <typename T>
  absl::Status ReadCount(absl::string_view what, size_t min_bytes, T* count) {
    RETURN_IF_ERROR(Read(what, count));
    if (*count < 0 || static_cast<uint64_t>(*count) > remaining() / min_bytes) {
      offset_ -= sizeof(T);
      return Error(
          absl::StrCat(what, " is ", *count, ", the file has room for ",
                       (remaining() - sizeof(T)) / min_bytes, " (truncated?)"));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Need(absl::string_view what, uint64_t n_bytes) const {
    if (n_bytes <= remaining()) {
      return absl::OkStatus();
    }
    return Error(absl::StrCat(is_cut_ ? "the header exceeds 256 MiB inside "
                                      : "the file ends inside ",
                              what, ": needs ", n_bytes, " bytes, ",
                              remaining(), " are left"));
  }

  absl::Span<const uint8_t> bytes_;
  absl::string_view file_;
  bool is_cut_;  // the file is longer than any header
  size_t offset_ = 0;
};

// --- Values ----------------------------------------------------------------

template <typename T>
absl::Status ReadScalar(Cursor& cursor, absl::string_view what, T* value) {
  return cursor.Read(what, value);
}

absl::Status ReadScalar(Cursor& cursor, absl::string_view what, bool* value) {
  uint8_t byte;
  RETURN_IF_ERROR(cursor.Read(what, &byte));
  if (byte > 1) {
    return cursor.Error(
        absl::StrCat(what, " is a boolean of value ", byte, ", not 0 or 1"));
  }
  *value = byte == 1;
  return absl::OkStatus();
}

absl::Status ReadScalar(Cursor& cursor, absl::string_view what,
                        std::string* value) {
  absl::string_view text;
  RETURN_IF_ERROR(cursor.ReadString(what, &text));
  *value = std::string(text);
  return absl::OkStatus();
}

template <typename T>
absl::Status ReadValue(Cursor& cursor, absl::string_view what,
                       MetadataValue* value) {
  T scalar;
  RETURN_IF_ERROR(ReadScalar(cursor, what, &scalar));
  *value = std::move(scalar);
  return absl::OkStatus();
}

template <typename T>
absl::Status ReadArray(Cursor& cursor, absl::string_view what,
                       MetadataValue* value) {
  constexpr size_t kMinBytes =
      std::is_same_v<T, std::string> ? sizeof(uint64_t) : sizeof(T);
  uint64_t count;
  RETURN_IF_ERROR(cursor.ReadCount(absl::StrCat("the length of ", what),
                                   kMinBytes, &count));
  std::vector<T> array;  // grows as elements prove to be there
  for (uint64_t i = 0; i < count; ++i) {
    T element;
    RETURN_IF_ERROR(ReadScalar(cursor, what, &element));
    array.push_back(std::move(element));
  }
  *value = std::move(array);
  return absl::OkStatus();
}

// One row a value type, in the order of GgufValueType.
struct ValueReader {
  const char* name;
  absl::Status (*read)(Cursor&, absl::string_view, MetadataValue*);
  absl::Status (*read_array)(Cursor&, absl::string_view, MetadataValue*);
};

template <typename T>
constexpr ValueReader Row(const char* name) {
  return {name, ReadValue<T>, ReadArray<T>};
}

constexpr ValueReader kValueReaders[] = {
    Row<uint8_t>("u8"),         Row<int8_t>("i8"),
    Row<uint16_t>("u16"),       Row<int16_t>("i16"),
    Row<uint32_t>("u32"),       Row<int32_t>("i32"),
    Row<float>("f32"),          Row<bool>("bool"),
    Row<std::string>("string"), {"array", nullptr, nullptr},
    Row<uint64_t>("u64"),       Row<int64_t>("i64"),
    Row<double>("f64"),
};
constexpr int32_t kArrayId = static_cast<int32_t>(GgufValueType::kArray);

absl::Status ReadKeyValue(Cursor& cursor, Metadata* metadata) {
  absl::string_view key;
  RETURN_IF_ERROR(cursor.ReadString("a key", &key));
  if (key.empty()) {
    return cursor.Error("a key without a name");
  }
  const std::string what = absl::StrCat("key ", QuotedName(key));
  if (metadata->Has(key)) {
    return cursor.Error(absl::StrCat("duplicate ", what));
  }
  int32_t type;
  RETURN_IF_ERROR(cursor.Read(what, &type));
  const bool is_array = type == kArrayId;
  if (is_array) {
    RETURN_IF_ERROR(cursor.Read(what, &type));
    if (type == kArrayId) {
      return cursor.Error(absl::StatusCode::kUnimplemented,
                          absl::StrCat(what,
                                       " is an array of arrays, which "
                                       "is not supported"));
    }
  }
  if (type < 0 || type >= static_cast<int32_t>(std::size(kValueReaders))) {
    return cursor.Error(absl::StrCat(what, " has unknown value type ", type));
  }
  const ValueReader& reader = kValueReaders[type];
  MetadataValue value;
  RETURN_IF_ERROR(
      (is_array ? reader.read_array : reader.read)(cursor, what, &value));
  metadata->Set(key, std::move(value));
  return absl::OkStatus();
}

// --- Tensors ---------------------------------------------------------------

struct TensorInfo {
  TensorMeta meta;
  int64_t n_bytes;
  uint64_t offset;     // in the data, as the header says
  size_t info_offset;  // in the file; for messages
};

absl::Status ReadShape(Cursor& cursor, absl::string_view what,
                       std::vector<int64_t>* shape) {
  uint32_t n_dims;
  RETURN_IF_ERROR(cursor.Read(what, &n_dims));
  if (n_dims > kGgufMaxDims) {
    return cursor.Error(absl::StrCat(what, " has ", n_dims,
                                     " dimensions, at most ", kGgufMaxDims,
                                     " are possible"));
  }
  shape->resize(n_dims);
  for (int64_t& size : *shape) {
    RETURN_IF_ERROR(cursor.Read(what, &size));
  }
  std::reverse(shape->begin(), shape->end());
  return absl::OkStatus();
}

absl::Status ReadTensorInfo(Cursor& cursor, TensorInfo* info) {
  info->info_offset = cursor.offset();
  absl::string_view name;
  RETURN_IF_ERROR(cursor.ReadString("a tensor's name", &name));
  const std::string what = absl::StrCat("tensor ", QuotedName(name));
  if (name.empty() || name.size() > kGgufMaxNameBytes) {
    return cursor.Error(absl::StrCat(what, " has a name of ", name.size(),
                                     " bytes, 1 to ", kGgufMaxNameBytes,
                                     " are possible"));
  }
  info->meta.name = std::string(name);
  RETURN_IF_ERROR(ReadShape(cursor, what, &info->meta.shape));
  int32_t type_id;
  RETURN_IF_ERROR(cursor.Read(what, &type_id));
  const std::optional<QuantType> type = TypeFromGgmlId(type_id);
  if (!type.has_value()) {
    return cursor.Error(absl::StatusCode::kUnimplemented,
                        absl::StrCat(what, " has element type ", type_id,
                                     ", which is unknown or retired"));
  }
  info->meta.type = *type;
  RETURN_IF_ERROR(cursor.Read(what, &info->offset));
  const absl::StatusOr<int64_t> n_bytes =
      TensorBytes(info->meta.type, info->meta.shape);
  if (!n_bytes.ok()) {
    return cursor.Error(absl::StrCat(what, ": ", n_bytes.status().message()));
  }
  info->n_bytes = *n_bytes;
  return absl::OkStatus();
}

// Checks one tensor's place against what precedes it and the file's end.
absl::Status PlaceTensor(const TensorInfo& info, int64_t expected_offset,
                         int64_t data_begin, absl::Span<const uint8_t> bytes,
                         absl::string_view file, TensorView* view) {
  const auto error = [&](absl::string_view cause) {
    return absl::DataLossError(
        absl::StrCat("tensor ", QuotedName(info.meta.name), ": ", cause,
                     "; at offset ", info.info_offset, "; reading ", file));
  };
  if (info.offset != static_cast<uint64_t>(expected_offset)) {
    return error(absl::StrCat("header gives data offset ", info.offset,
                              ", the tensors before it end at ",
                              expected_offset));
  }
  const int64_t begin = data_begin + expected_offset;
  const int64_t size = static_cast<int64_t>(bytes.size());
  if (info.n_bytes > 0 && (begin > size || info.n_bytes > size - begin)) {
    return error(absl::StrCat(TypeName(info.meta.type), " ",
                              ShapeString(info.meta.shape), " needs ",
                              info.n_bytes, " bytes from offset ", begin,
                              ", the file has ", size, " in all (truncated?)"));
  }
  view->meta = info.meta;
  view->origin = {std::string(file), begin};
  if (info.n_bytes > 0) {
    view->data = bytes.subspan(static_cast<size_t>(begin),
                               static_cast<size_t>(info.n_bytes));
  }
  return absl::OkStatus();
}

// --- The whole -------------------------------------------------------------

absl::Status ReadVersion(Cursor& cursor) {
  uint32_t magic;
  if (cursor.remaining() < sizeof(magic)) {
    return cursor.Error(absl::StrCat("a file of ", cursor.remaining(),
                                     " bytes is too short for GGUF"));
  }
  RETURN_IF_ERROR(cursor.Read("the magic", &magic));
  if (std::memcmp(&magic, kGgufMagic.data(), sizeof(magic)) != 0) {
    return absl::DataLossError(absl::StrCat(
        "the file does not begin with 'GGUF'; reading ", cursor.file()));
  }
  uint32_t version;
  RETURN_IF_ERROR(cursor.Read("the version", &version));
  if (version >= kGgufOldestVersion && version <= kGgufVersion) {
    return absl::OkStatus();
  }
  if (version == 0) {
    return cursor.Error("GGUF version 0 does not exist");
  }
  // A small version number stored in the other byte order.
  const bool big_endian = (version & 0xffff) == 0;
  return cursor.Error(
      absl::StatusCode::kUnimplemented,
      big_endian ? std::string("a big-endian GGUF file, which is not supported")
                 : absl::StrCat("GGUF version ", version,
                                " is not supported, versions 2 and 3 are"));
}

absl::Status ReadTensorInfos(Cursor& cursor, int64_t n_tensors,
                             std::vector<TensorInfo>* infos) {
  absl::flat_hash_set<std::string> names;
  for (int64_t i = 0; i < n_tensors; ++i) {
    TensorInfo info;
    RETURN_IF_ERROR(ReadTensorInfo(cursor, &info));
    if (!names.insert(info.meta.name).second) {
      return cursor.Error(
          absl::StrCat("duplicate tensor ", QuotedName(info.meta.name)));
    }
    infos->push_back(std::move(info));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> GgufAlignment(const Metadata& metadata) {
  const MetadataValue* value = metadata.Find(kGgufAlignmentKey);
  if (value == nullptr) {
    return kGgufDefaultAlignment;
  }
  if (!std::holds_alternative<uint32_t>(*value)) {
    return absl::InvalidArgumentError("general.alignment is not a u32");
  }
  const uint32_t alignment = std::get<uint32_t>(*value);
  if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "general.alignment is ", alignment, ", not a power of two"));
  }
  return alignment;
}

absl::StatusOr<GgufHeader> ParseGgufHeader(absl::Span<const uint8_t> bytes,
                                           absl::string_view file) {
  // The fewest bytes of a key and its value (a name of one byte, a u8) and of
  // a tensor info (an empty name, no sizes).
  constexpr size_t kMinKeyBytes = 8 + 1 + 4 + 1;
  constexpr size_t kMinInfoBytes = 8 + 4 + 4 + 8;
  RETURN_IF_ERROR(CheckNotLfsPointer(bytes, file));
  Cursor cursor(bytes, file);
  RETURN_IF_ERROR(ReadVersion(cursor));
  int64_t n_tensors;
  int64_t n_keys;
  RETURN_IF_ERROR(
      cursor.ReadCount("the number of tensors", kMinInfoBytes, &n_tensors));
  RETURN_IF_ERROR(
      cursor.ReadCount("the number of keys", kMinKeyBytes, &n_keys));
  GgufHeader header;
  for (int64_t i = 0; i < n_keys; ++i) {
    RETURN_IF_ERROR(ReadKeyValue(cursor, &header.metadata));
  }
  const absl::StatusOr<int64_t> alignment = GgufAlignment(header.metadata);
  if (!alignment.ok()) {
    return cursor.Error(alignment.status().message());
  }
  std::vector<TensorInfo> infos;
  RETURN_IF_ERROR(ReadTensorInfos(cursor, n_tensors, &infos));
  const int64_t data_begin =
      PadTo(static_cast<int64_t>(cursor.offset()), *alignment);
  int64_t offset = 0;
  header.tensors.resize(infos.size());
  for (size_t i = 0; i < infos.size(); ++i) {
    RETURN_IF_ERROR(PlaceTensor(infos[i], offset, data_begin, bytes, file,
                                &header.tensors[i]));
    // No overflow: the tensor lies in the file.
    offset = PadTo(offset + infos[i].n_bytes, *alignment);
  }
  return header;
}

}  // namespace narrow
