// Where everything of a GGUF file to be written lies: the header as bytes, the
// place of each tensor, the size of the whole. gguf_header.h is the way back.
//
//   ASSIGN_OR_RETURN(GgufLayout layout, LayOutGguf(metas, metadata));
//
// Pure functions, safe from any thread.

#ifndef NARROW_FORMATS_GGUF_GGUF_LAYOUT_H_
#define NARROW_FORMATS_GGUF_GGUF_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {

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

#endif  // NARROW_FORMATS_GGUF_GGUF_LAYOUT_H_
