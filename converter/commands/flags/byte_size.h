// Sizes as flags have them: "5GB", "500MB", "2GiB", "4096".

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_BYTE_SIZE_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_BYTE_SIZE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

// Decimal units as transformers counts them, and binary ones. InvalidArgument
// names the flag.
absl::StatusOr<int64_t> ParseByteSize(absl::string_view text,
                                      absl::string_view flag);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_BYTE_SIZE_H_
