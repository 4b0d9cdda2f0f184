// Templates from text to syntax trees.
//
//   ASSIGN_OR_RETURN(Body body, ParseTemplate(text));

#ifndef NARROW_FORMATS_CHAT_JINJA_SYNTAX_PARSER_H_
#define NARROW_FORMATS_CHAT_JINJA_SYNTAX_PARSER_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/syntax/syntax.h"

namespace narrow::jinja {

// InvalidArgument: no template, with the line; Unimplemented: statements that
// need other templates (extends, include, import) or that we lack, by name.
// REQUIRES: valid UTF-8.
absl::StatusOr<Body> ParseTemplate(absl::string_view text);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_SYNTAX_PARSER_H_
