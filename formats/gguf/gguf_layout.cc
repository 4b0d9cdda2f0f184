#include "formats/gguf/gguf_layout.h"

#include <type_traits>
#include <variant>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_format.h"
#include "formats/gguf/gguf_header.h"

namespace narrow {
namespace {

template <typename T>
void Put(const T& value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void Put(absl::string_view text, std::string* out) {
  Put(static_cast<uint64_t>(text.size()), out);
  absl::StrAppend(out, text);
}

template <typename T>
void PutScalar(const T& value, std::string* out) {
  if constexpr (std::is_same_v<T, std::string>) {
    Put(absl::string_view(value), out);
  } else if constexpr (std::is_same_v<T, bool>) {
    Put(static_cast<uint8_t>(value), out);
  } else {
    Put(value, out);
  }
}

// Alternatives of MetadataValue are the scalars in the order of their ids,
// without the array, and then the arrays.
constexpr size_t kNumScalars = std::variant_size_v<MetadataValue> / 2;
static_assert(kNumScalars == static_cast<size_t>(GgufValueType::kFloat64),
              "ids up to f64, less the array, which is no scalar");
static_assert(
    std::is_same_v<std::variant_alternative_t<8, MetadataValue>, std::string>);
static_assert(
    std::is_same_v<std::variant_alternative_t<kNumScalars - 1, MetadataValue>,
                   double>);
static_assert(
    std::is_same_v<std::variant_alternative_t<kNumScalars + 8, MetadataValue>,
                   std::vector<std::string>>);

constexpr int32_t kArrayId = static_cast<int32_t>(GgufValueType::kArray);

int32_t ValueTypeId(size_t scalar_index) {
  const int32_t id = static_cast<int32_t>(scalar_index);
  return id < kArrayId ? id : id + 1;
}

void PutValue(const MetadataValue& value, std::string* out) {
  const bool is_array = value.index() >= kNumScalars;
  if (is_array) {
    Put(kArrayId, out);
  }
  Put(ValueTypeId(value.index() % kNumScalars), out);
  std::visit(
      [out](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_arithmetic_v<T> ||
                      std::is_same_v<T, std::string>) {
          PutScalar(v, out);
        } else {
          Put(static_cast<uint64_t>(v.size()), out);
          for (const typename T::value_type& element : v) {
            PutScalar<typename T::value_type>(element, out);
          }
        }
      },
      value);
}

absl::Status CheckMeta(const TensorMeta& meta) {
  const std::string what = absl::StrCat("tensor ", QuotedName(meta.name));
  if (meta.name.empty() || meta.name.size() > kGgufMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " has a name of ", meta.name.size(),
                     " bytes, GGUF allows 1 to ", kGgufMaxNameBytes));
  }
  if (meta.shape.size() > kGgufMaxDims) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " has shape ", ShapeString(meta.shape),
                     ", GGUF allows ", kGgufMaxDims, " dimensions"));
  }
  if (Geometry(meta.type).ggml_id < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, " has type ", TypeName(meta.type), ", which GGUF cannot hold"));
  }
  return absl::OkStatus();
}

void PutTensorInfo(const TensorMeta& meta, int64_t offset, std::string* out) {
  Put(absl::string_view(meta.name), out);
  Put(static_cast<uint32_t>(meta.shape.size()), out);
  for (auto it = meta.shape.rbegin(); it != meta.shape.rend(); ++it) {
    Put(*it, out);
  }
  Put(static_cast<int32_t>(Geometry(meta.type).ggml_id), out);
  Put(static_cast<uint64_t>(offset), out);
}

}  // namespace

absl::StatusOr<GgufLayout> LayOutGguf(absl::Span<const TensorMeta> metas,
                                      const Metadata& metadata) {
  constexpr int64_t kMaxFileBytes = int64_t{1} << 62;
  GgufLayout layout;
  ASSIGN_OR_RETURN(layout.alignment, GgufAlignment(metadata));
  std::string& header = layout.header;
  absl::StrAppend(&header, kGgufMagic);
  Put(kGgufVersion, &header);
  Put(static_cast<int64_t>(metas.size()), &header);
  Put(static_cast<int64_t>(metadata.size()), &header);
  for (const auto& [key, value] : metadata.entries()) {
    if (key.empty()) {
      return absl::InvalidArgumentError("a metadata key without a name");
    }
    Put(absl::string_view(key), &header);
    PutValue(value, &header);
  }
  absl::flat_hash_set<absl::string_view> names;
  int64_t offset = 0;
  for (const TensorMeta& meta : metas) {
    RETURN_IF_ERROR(CheckMeta(meta));
    if (!names.insert(meta.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("duplicate tensor ", QuotedName(meta.name)));
    }
    const absl::StatusOr<int64_t> n_bytes = TensorBytes(meta.type, meta.shape);
    if (!n_bytes.ok() || *n_bytes > kMaxFileBytes - offset) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", QuotedName(meta.name), ": ",
                       n_bytes.ok() ? "the file would exceed 2^62 bytes"
                                    : n_bytes.status().message()));
    }
    PutTensorInfo(meta, offset, &header);
    layout.n_bytes.push_back(*n_bytes);
    offset = PadTo(offset + *n_bytes, layout.alignment);
  }
  header.resize(static_cast<size_t>(
      PadTo(static_cast<int64_t>(header.size()), layout.alignment)));
  layout.file_bytes = static_cast<int64_t>(header.size()) + offset;
  return layout;
}

}  // namespace narrow
