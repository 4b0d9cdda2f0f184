// Writes safetensors, header first and data as they come.
//
//   std::unique_ptr<TensorSink> sink = NewSafetensorsWriter(path);
//   Metadata metadata;
//   metadata.Set("format", std::string("pt"));  // transformers asks for it
//   RETURN_IF_ERROR(sink->Begin(metas, metadata));
//   RETURN_IF_ERROR(sink->Append(bytes));  // until all are there
//   RETURN_IF_ERROR(sink->Finish());
//
// The header is padded to 8 bytes; tensors follow each other without gap, in
// the order declared. A file has its size reserved in Begin and its name
// after Finish.

#ifndef NARROW_FORMATS_SAFETENSORS_SAFETENSORS_WRITER_H_
#define NARROW_FORMATS_SAFETENSORS_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {

std::unique_ptr<TensorSink> NewSafetensorsWriter(absl::string_view path);

// A folder of model-00001-of-0000N.safetensors and their index, each file's
// tensors at most `max_shard_bytes`; a tensor above that has a file of its
// own. If all fit into one, it is model.safetensors without index. Files get
// their names in Finish, the index last. REQUIRES: max_shard_bytes > 0.
std::unique_ptr<TensorSink> NewSafetensorsFolderWriter(absl::string_view folder,
                                                       int64_t max_shard_bytes);

// A file of such a folder: its tensors [first, first + n) and their bytes.
struct SafetensorsShard {
  size_t first = 0;
  size_t n = 0;
  int64_t n_bytes = 0;
};

// The files that NewSafetensorsFolderWriter would make; at least one.
std::vector<SafetensorsShard> PlanSafetensorsShards(
    absl::Span<const int64_t> tensor_bytes, int64_t max_shard_bytes);

// Exact size of the file NewSafetensorsWriter would write.
absl::StatusOr<int64_t> SafetensorsFileBytes(absl::Span<const TensorMeta> metas,
                                             const Metadata& metadata);

}  // namespace narrow

#endif  // NARROW_FORMATS_SAFETENSORS_SAFETENSORS_WRITER_H_
