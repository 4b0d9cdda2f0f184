// Cuts a template into text and the tokens of its tags.
//
// White space is dealt with here, as transformers sets Jinja up: the newline
// after a block or a comment goes (trim_blocks), so does white space between
// the line's start and them (lstrip_blocks), a minus sign takes all on its
// side, a plus sign keeps it; one newline at the end of the template goes;
// every line end is \n.

#ifndef NARROW_FORMATS_CHAT_JINJA_SYNTAX_LEXER_H_
#define NARROW_FORMATS_CHAT_JINJA_SYNTAX_LEXER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow::jinja {

struct Token {
  enum class Type {
    kData,
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };

  Type type = Type::kEnd;
  int line = 1;
  std::string text;  // a string without quotes and escapes
  int64_t integer = 0;
  double real = 0;
};

// The last token is kEnd. InvalidArgument with the line for what is no
// token, Unimplemented for integers beyond 64 bits. REQUIRES: valid UTF-8.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_SYNTAX_LEXER_H_
