// The tokens of a template, one at a time, for the parsers.

#ifndef NARROW_FORMATS_CHAT_JINJA_SYNTAX_TOKEN_STREAM_H_
#define NARROW_FORMATS_CHAT_JINJA_SYNTAX_TOKEN_STREAM_H_

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/syntax/lexer.h"

namespace narrow::jinja {

class TokenStream {
 public:
  // REQUIRES: the last token is kEnd.
  explicit TokenStream(std::vector<Token> tokens)
      : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& next() const {
    return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_];
  }
  void Skip() {
    if (at_ + 1 < tokens_.size()) {
      ++at_;
    }
  }

  bool Is(Token::Type type) const { return current().type == type; }
  bool IsName(absl::string_view name) const {
    return Is(Token::Type::kName) && current().text == name;
  }
  bool IsOperator(absl::string_view op) const {
    return Is(Token::Type::kOperator) && current().text == op;
  }
  bool SkipName(absl::string_view name) {
    const bool is = IsName(name);
    if (is) {
      Skip();
    }
    return is;
  }
  bool SkipOperator(absl::string_view op) {
    const bool is = IsOperator(op);
    if (is) {
      Skip();
    }
    return is;
  }

  absl::Status Error(absl::string_view cause) const {
    return absl::InvalidArgumentError(
        absl::StrCat(cause, "; at line ", current().line, " of the template"));
  }
  absl::Status Unexpected(absl::string_view expected) const {
    return Error(absl::StrCat("expected ", expected, ", found ", Found()));
  }
  absl::Status Expect(Token::Type type, absl::string_view what) {
    if (!Is(type)) {
      return Unexpected(what);
    }
    Skip();
    return absl::OkStatus();
  }
  absl::Status ExpectOperator(absl::string_view op) {
    return SkipOperator(op) ? absl::OkStatus()
                            : Unexpected(absl::StrCat("'", op, "'"));
  }
  absl::Status ExpectName(absl::string_view name) {
    return SkipName(name) ? absl::OkStatus()
                          : Unexpected(absl::StrCat("'", name, "'"));
  }

 private:
  std::string Found() const {
    switch (current().type) {
      case Token::Type::kEnd:
        return "the end of the template";
      case Token::Type::kBlockEnd:
        return "'%}'";
      case Token::Type::kVariableEnd:
        return "'}}'";
      default:
        return QuotedName(current().text);
    }
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_SYNTAX_TOKEN_STREAM_H_
