// Writes GGUF version 3, header first and data as they come.
//
//   std::unique_ptr<TensorSink> sink = NewGgufWriter("model.gguf");
//   RETURN_IF_ERROR(sink->Begin(metas, metadata));
//   RETURN_IF_ERROR(sink->Append(bytes));  // until all are there
//   RETURN_IF_ERROR(sink->Finish());
//
// The file has its whole size reserved in Begin, and its name after Finish.
// Data are padded to general.alignment of the metadata, to 32 without it.

#ifndef NARROW_FORMATS_GGUF_GGUF_WRITER_H_
#define NARROW_FORMATS_GGUF_GGUF_WRITER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/gguf/gguf_split.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {

std::unique_ptr<TensorSink> NewGgufWriter(absl::string_view path);

// Shards "<prefix>-00001-of-0000N.gguf"; a ".gguf" at the end of `prefix` is
// dropped. They get their names in Finish, the first shard last, or none does.
std::unique_ptr<TensorSink> NewGgufSplitWriter(absl::string_view prefix,
                                               const GgufSplitOptions& options);

// Exact size of the file NewGgufWriter would write. InvalidArgument as from
// its Begin.
absl::StatusOr<int64_t> GgufFileBytes(absl::Span<const TensorMeta> metas,
                                      const Metadata& metadata);
// The same for each shard of NewGgufSplitWriter.
absl::StatusOr<std::vector<int64_t>> GgufSplitFileBytes(
    absl::Span<const TensorMeta> metas, const Metadata& metadata,
    const GgufSplitOptions& options);

}  // namespace narrow

#endif  // NARROW_FORMATS_GGUF_GGUF_WRITER_H_
