// The header of a GGUF file, from bytes and to bytes.
//
//   ASSIGN_OR_RETURN(GgufHeader header, ParseGgufHeader(bytes, path));
//   ASSIGN_OR_RETURN(GgufLayout layout, LayOutGguf(metas, metadata));
//
// Pure functions, safe from any thread.

#ifndef NARROW_FORMATS_GGUF_GGUF_HEADER_H_
#define NARROW_FORMATS_GGUF_GGUF_HEADER_H_

#include <cstdint>
#include <string>
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

// Everything about a file to be written but the tensors' data.
struct GgufLayout {
  std::string header;  // padded: the data follow it
  int64_t alignment;
  std::vector<int64_t> n_bytes;  // of each tensor, without padding
  int64_t file_bytes;            // exact, all padding included
};

// InvalidArgument for what no reader would accept: names that are empty, too
// long or used twice, more than 4 sizes, an element type ggml does not know,
// rows that do not divide into blocks, an illegal general.alignment.
absl::StatusOr<GgufLayout> LayOutGguf(absl::Span<const TensorMeta> metas,
                                      const Metadata& metadata);

}  // namespace narrow

#endif  // NARROW_FORMATS_GGUF_GGUF_HEADER_H_
