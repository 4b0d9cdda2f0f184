// What a calibration text is, by its content.

#ifndef NARROW_CALIBRATION_TEXT_TEXT_KIND_H_
#define NARROW_CALIBRATION_TEXT_TEXT_KIND_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

enum class TextKind {
  kAuto,  // by content: lines of JSON objects with messages, or with a text
  kPlain,
  kJsonl,  // `field` of each line's object
  kChat,   // "messages" (or `field`) of each line: a list of {role, content}
};

// The field read where none is named: "text", or "messages".
std::string FieldOf(TextKind kind, const std::string& field);

// By the first line that is not blank. A JSON object: conversations if `field`
// (else "messages") is a list in it, JSONL if `field` (else "text") is a
// string, InvalidArgument if neither. Anything else is plain text, unless the
// file's name ends with ".jsonl" or ".json": then InvalidArgument. kAuto is
// never the result.
absl::StatusOr<TextKind> DetectKind(absl::string_view bytes,
                                    const std::string& path,
                                    const std::string& field);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_TEXT_TEXT_KIND_H_
