// Element types and the sizes of their blocks, as frozen on disk.
//
//   const TypeGeometry& g = Geometry(QuantType::kQ4_K);  // 256 in 144 bytes
//   std::optional<QuantType> t = TypeFromName("q4_k");
//
// Constant tables; safe from any thread.

#ifndef NARROW_FORMATS_QUANT_TYPE_H_
#define NARROW_FORMATS_QUANT_TYPE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narrow {

enum class QuantType : uint8_t {
#define NARROW_TYPE(enumerator, ...) enumerator,
#include "formats/quant_types.inc"
#undef NARROW_TYPE
};

struct TypeGeometry {
  QuantType type;
  const char* name;               // as users spell it: q4_k
  int ggml_id;                    // number in GGUF files; -1: not a ggml type
  const char* ggml_name;          // as ggml prints it: q4_K; or ""
  const char* safetensors_dtype;  // or ""
  int64_t block_weights;
  int64_t block_bytes;

  double bits_per_weight() const {
    return 8.0 * static_cast<double>(block_bytes) /
           static_cast<double>(block_weights);
  }
};

// All rows, in the order of quant_types.inc.
absl::Span<const TypeGeometry> AllTypes();
const TypeGeometry& Geometry(QuantType type);
// Shorthand for Geometry(type).name.
const char* TypeName(QuantType type);

// Case is ignored, so that Q4_K, q4_K and q4_k are one type.
std::optional<QuantType> TypeFromName(absl::string_view name);
std::optional<QuantType> TypeFromGgmlId(int64_t ggml_id);
std::optional<QuantType> TypeFromSafetensorsDtype(absl::string_view dtype);

// Bytes of a tensor of `shape` (outermost first), its rows padded to nothing:
// the innermost size must be a multiple of the block. InvalidArgument names
// the row size and the block; also on negative sizes and on overflow. The
// product of an empty shape is 1, as a scalar has one element.
absl::StatusOr<int64_t> TensorBytes(QuantType type,
                                    absl::Span<const int64_t> shape);
// Product of `shape`; InvalidArgument when negative or above 2^62.
absl::StatusOr<int64_t> NumElements(absl::Span<const int64_t> shape);

// "[4096, 11008]".
std::string ShapeString(absl::Span<const int64_t> shape);

}  // namespace narrow

#endif  // NARROW_FORMATS_QUANT_TYPE_H_
