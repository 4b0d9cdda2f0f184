// The header of a safetensors file, from bytes and to bytes.
//
//   ASSIGN_OR_RETURN(auto header, ParseSafetensorsHeader(bytes, path));
//   ASSIGN_OR_RETURN(auto layout, LayOutSafetensors(metas, metadata));
//
// Pure functions, safe from any thread.

#ifndef NARROW_FORMATS_SAFETENSORS_SAFETENSORS_HEADER_H_
#define NARROW_FORMATS_SAFETENSORS_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {

struct SafetensorsHeader {
  // The strings of __metadata__, under their own keys.
  Metadata metadata;
  // In the order of their data, which are spans of the parsed bytes. They
  // need not be aligned for their type.
  std::vector<TensorView> tensors;
};

// `file` is for messages and origins. DataLoss for damage, Unimplemented for
// an unknown dtype.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(
    absl::Span<const uint8_t> bytes, absl::string_view file);

// Everything about a file to be written but the tensors' data.
struct SafetensorsLayout {
  std::string header;            // with its length in front, and padded
  std::vector<int64_t> n_bytes;  // of each tensor
  int64_t file_bytes;            // exact
};

// InvalidArgument for names used twice or equal to "__metadata__", types the
// format lacks, sizes that do not fit the type, metadata that are not
// strings, and headers above the format's limit.
absl::StatusOr<SafetensorsLayout> LayOutSafetensors(
    absl::Span<const TensorMeta> metas, const Metadata& metadata);

}  // namespace narrow

#endif  // NARROW_FORMATS_SAFETENSORS_SAFETENSORS_HEADER_H_
