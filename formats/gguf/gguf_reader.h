// Opens a GGUF file, or all shards of a split one, for reading.
//
//   ASSIGN_OR_RETURN(auto source, OpenGguf("model-Q4_K_M.gguf"));
//   for (const TensorView& tensor : source->tensors()) ...
//
// Files are mapped, and nothing but headers is read on opening. Shapes are
// outermost first, with as many sizes as the file has.

#ifndef NARROW_FORMATS_GGUF_GGUF_READER_H_
#define NARROW_FORMATS_GGUF_GGUF_READER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/tensor.h"

namespace narrow {

// `path` is a whole file or any shard; the other shards are found beside it
// by name. metadata() is that of the first shard, its split.* keys included.
absl::StatusOr<std::unique_ptr<TensorSource>> OpenGguf(absl::string_view path);

// Whether a file with these bytes is meant to be GGUF.
bool LooksLikeGguf(absl::Span<const uint8_t> bytes);

// The GGUF file of a folder that has one, or one set of shards. NotFound if
// there is none, InvalidArgument with their names if there are several.
absl::StatusOr<std::unique_ptr<TensorSource>> OpenGgufFolder(
    absl::string_view folder);

// True if the folder has any .gguf file.
bool HasGguf(absl::string_view folder);

}  // namespace narrow

#endif  // NARROW_FORMATS_GGUF_GGUF_READER_H_
