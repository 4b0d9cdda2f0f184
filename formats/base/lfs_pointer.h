// Files that Git left behind in place of large ones.
//
//   RETURN_IF_ERROR(CheckNotLfsPointer(file->bytes(), path));
//
// Pure functions.

#ifndef NARROW_FORMATS_BASE_LFS_POINTER_H_
#define NARROW_FORMATS_BASE_LFS_POINTER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narrow {

// DataLoss with the remedy if `bytes` are not a model but the text that Git
// leaves in place of a large file that was not downloaded.
absl::Status CheckNotLfsPointer(absl::Span<const uint8_t> bytes,
                                absl::string_view file);

}  // namespace narrow

#endif  // NARROW_FORMATS_BASE_LFS_POINTER_H_
