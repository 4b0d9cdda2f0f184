// Expressions, by recursive descent. From loose to tight: if else; or; and;
// not; comparisons, in; + -; ~; * / // %; **; unary signs; attributes, items
// and calls; filters and tests.

#ifndef NARROW_FORMATS_CHAT_JINJA_SYNTAX_EXPRESSION_PARSER_H_
#define NARROW_FORMATS_CHAT_JINJA_SYNTAX_EXPRESSION_PARSER_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/syntax/syntax.h"
#include "formats/chat/jinja/syntax/token_stream.h"

namespace narrow::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream* stream) : stream_(*stream) {}

  absl::StatusOr<ExprPtr> ParseExpression(bool with_conditional = true);
  // Expressions with commas between them are a tuple. `end_name`: a name that
  // ends it ("recursive"), or empty.
  absl::StatusOr<ExprPtr> ParseTuple(bool with_conditional,
                                     absl::string_view end_name,
                                     bool in_parentheses);
  // What can be assigned to: a name, a tuple of them, with `with_members`
  // members of namespaces.
  absl::StatusOr<ExprPtr> ParseTarget(bool with_members,
                                      absl::string_view end_name);
  absl::StatusOr<std::string> ParseName();
  // The filters that stand here, applied to `expr`, null in a block. The
  // first needs no bar with `at_name`.
  absl::StatusOr<ExprPtr> ParseFilters(ExprPtr expr, bool at_name);

  // How often a name was read so far: says whether a body uses it.
  int n_loop() const { return n_loop_; }
  int n_varargs() const { return n_varargs_; }
  int n_kwargs() const { return n_kwargs_; }
  int n_caller() const { return n_caller_; }

 private:
  using Result = absl::StatusOr<ExprPtr>;

  Result ParseConditional();
  Result ParseOr();
  Result ParseAnd();
  Result ParseNot();
  Result ParseCompare();
  Result ParseSum();
  Result ParseConcat();
  Result ParseProduct();
  Result ParsePower();
  Result ParseUnary(bool with_filters);
  Result ParsePrimary(bool with_members);
  Result ParseNamed(bool with_members);
  Result ParseList();
  Result ParseDict();
  Result ParsePostfix(ExprPtr expr);
  Result ParseSubscript(ExprPtr expr);
  Result ParseIndex();
  Result ParseFiltersAndTests(ExprPtr expr);
  Result ParseTest(ExprPtr expr);
  absl::Status ParseArguments(Expr* call);
  absl::Status ParseArgument(Expr* call);

  ExprPtr New(Expr::Type type) const;
  ExprPtr New(Expr::Type type, ExprPtr a, ExprPtr b = nullptr) const;
  // Counts the depth of a finished node, and limits it.
  Result Finish(ExprPtr expr) const;

  TokenStream& stream_;
  int nesting_ = 0;
  int n_loop_ = 0;
  int n_varargs_ = 0;
  int n_kwargs_ = 0;
  int n_caller_ = 0;
};

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_SYNTAX_EXPRESSION_PARSER_H_
