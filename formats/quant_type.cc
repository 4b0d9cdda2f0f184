#include "formats/quant_type.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr TypeGeometry kTypes[] = {
#define NARROW_TYPE(enumerator, name, id, ggml_name, dtype, weights, bytes) \
  {QuantType::enumerator, name, id, ggml_name, dtype, weights, bytes},
#include "formats/quant_types.inc"
#undef NARROW_TYPE
};

constexpr int64_t kMaxElements = int64_t{1} << 62;

}  // namespace

absl::Span<const TypeGeometry> AllTypes() { return kTypes; }

const TypeGeometry& Geometry(QuantType type) {
  return kTypes[static_cast<size_t>(type)];
}

const char* TypeName(QuantType type) { return Geometry(type).name; }

std::optional<QuantType> TypeFromName(absl::string_view name) {
  for (const TypeGeometry& row : kTypes) {
    if (absl::EqualsIgnoreCase(row.name, name)) {
      return row.type;
    }
  }
  return std::nullopt;
}

std::optional<QuantType> TypeFromGgmlId(int64_t ggml_id) {
  for (const TypeGeometry& row : kTypes) {
    if (ggml_id >= 0 && row.ggml_id == ggml_id) {
      return row.type;
    }
  }
  return std::nullopt;
}

std::optional<QuantType> TypeFromSafetensorsDtype(absl::string_view dtype) {
  for (const TypeGeometry& row : kTypes) {
    if (!dtype.empty() && dtype == row.safetensors_dtype) {
      return row.type;
    }
  }
  return std::nullopt;
}

absl::StatusOr<int64_t> NumElements(absl::Span<const int64_t> shape) {
  int64_t n = 1;
  for (const int64_t size : shape) {
    if (size < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("negative size in shape ", ShapeString(shape)));
    }
    if (size != 0 && n > kMaxElements / size) {
      return absl::InvalidArgumentError(absl::StrCat(
          "shape ", ShapeString(shape), " has more than 2^62 elements"));
    }
    n *= size;
  }
  return n;
}

absl::StatusOr<int64_t> TensorBytes(QuantType type,
                                    absl::Span<const int64_t> shape) {
  const TypeGeometry& geometry = Geometry(type);
  ASSIGN_OR_RETURN(const int64_t n, NumElements(shape));
  const int64_t row = shape.empty() ? 1 : shape.back();
  if (row % geometry.block_weights != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rows of ", row, " weights do not divide into blocks of ",
        geometry.block_weights, " that ", geometry.name, " needs"));
  }
  const int64_t n_blocks = n / geometry.block_weights;
  if (n_blocks > kMaxElements / geometry.block_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "shape ", ShapeString(shape), " as ", geometry.name,
        " has more than 2^62 bytes"));
  }
  return n_blocks * geometry.block_bytes;
}

std::string ShapeString(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace narrow
