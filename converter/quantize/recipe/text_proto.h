// Messages in protobuf's text format, with errors that name line, column and
// the nearest field.

#ifndef NARROW_CONVERTER_QUANTIZE_RECIPE_TEXT_PROTO_H_
#define NARROW_CONVERTER_QUANTIZE_RECIPE_TEXT_PROTO_H_

#include <google/protobuf/message.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace narrow {

// InvalidArgument: what is wrong at which line and column of `file`, and for
// a field that there is not, the nearest one.
absl::Status ParseTextProto(absl::string_view text, absl::string_view file,
                            google::protobuf::Message* message);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_RECIPE_TEXT_PROTO_H_
