// Runs a parsed template.
//
//   ASSIGN_OR_RETURN(std::string text, RenderBody(body, variables, now));

#ifndef NARROW_FORMATS_CHAT_JINJA_INTERPRETER_H_
#define NARROW_FORMATS_CHAT_JINJA_INTERPRETER_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/syntax/syntax.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// `now`: what strftime_now tells, "2024-07-26" or "2024-07-26 13:05:00".
// InvalidArgument: what the template refuses, in its words, or does wrong, or
// takes beyond all measure; Unimplemented: what we lack, by name. Both with
// the line. Safe from any thread.
absl::StatusOr<std::string> RenderBody(const Body& body, const Dict& variables,
                                       absl::string_view now);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_INTERPRETER_H_
