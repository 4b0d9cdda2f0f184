// config.json with another "quantization_config", and otherwise the text that
// it was: unknown keys, their order, numbers as they were written.
//
//   ASSIGN_OR_RETURN(std::string text, SetQuantizationConfig(old, object));
//
// Pure functions.

#ifndef NARROW_CONVERTER_PACKED_OUTPUT_CONFIG_JSON_H_
#define NARROW_CONVERTER_PACKED_OUTPUT_CONFIG_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

// `config` is a JSON object; `value` one too, or "" to take the key away. The
// key stays in its place, or comes last. DataLoss if `config` is no object.
absl::StatusOr<std::string> SetQuantizationConfig(absl::string_view config,
                                                  absl::string_view value);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PACKED_OUTPUT_CONFIG_JSON_H_
