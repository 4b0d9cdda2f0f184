// The header of a GGUF file, from bytes; gguf_layout.h is the way back.
//
//   ASSIGN_OR_RETURN(GgufHeader header, ParseGgufHeader(bytes, path));
//
// Pure functions, safe from any thread.

#ifndef NARROW_FORMATS_GGUF_GGUF_HEADER_H_
#define NARROW_FORMATS_GGUF_GGUF_HEADER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {

struct GgufHeader {
  Metadata metadata;
  // Data are spans of the parsed bytes, checked to lie in them.
  std::vector<TensorView> tensors;
};

// `file` is for messages and origins. DataLoss for damage, Unimplemented for
// versions, byte orders, value types and element types that are not read.
// Memory used is at most a small multiple of the bytes given, whatever the
// header claims.
absl::StatusOr<GgufHeader> ParseGgufHeader(absl::Span<const uint8_t> bytes,
                                           absl::string_view file);

// general.alignment, or 32 without it. InvalidArgument unless it is a u32 and
// a power of two.
absl::StatusOr<int64_t> GgufAlignment(const Metadata& metadata);

}  // namespace narrow

#endif  // NARROW_FORMATS_GGUF_GGUF_HEADER_H_
