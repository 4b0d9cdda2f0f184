// One rendering: expressions (evaluator.cc), statements (executor.cc), macros
// (macro.cc) and global functions (globals.cc).

#ifndef NARROW_FORMATS_CHAT_JINJA_EVALUATOR_H_
#define NARROW_FORMATS_CHAT_JINJA_EVALUATOR_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/arguments.h"
#include "formats/chat/jinja/loop.h"
#include "formats/chat/jinja/runtime.h"
#include "formats/chat/jinja/scope.h"
#include "formats/chat/jinja/syntax/syntax.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

class Evaluator {
 public:
  Evaluator(const Dict& variables, std::string now)
      : variables_(variables), runtime_(std::move(now)) {}

  absl::StatusOr<std::string> Run(const Body& body);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  using Result = absl::StatusOr<Value>;

  // Expressions.
  Result Eval(const Expr& expr, Scope* scope);
  Result EvalKind(const Expr& expr, Scope* scope);
  Result EvalList(const Expr& expr, Scope* scope);
  Result EvalDict(const Expr& expr, Scope* scope);
  Result EvalCompare(const Expr& expr, Scope* scope);
  Result EvalConcat(const Expr& expr, Scope* scope);
  Result EvalItem(const Expr& expr, Scope* scope);
  Result EvalConditional(const Expr& expr, Scope* scope);
  Result EvalCall(const Expr& expr, Scope* scope);
  Result EvalTest(const Expr& expr, Scope* scope);
  absl::StatusOr<bool> EvalTruth(const Expr& expr, Scope* scope);
  absl::StatusOr<Arguments> EvalArguments(const Expr& expr, Scope* scope);
  Value Resolve(absl::string_view name, const Scope* scope) const;
  // `block`: what a filter without an operand is applied to.
  Result EvalFilter(const Expr& expr, const Value* block, Scope* scope);
  Result Checked(Value value) const;

  // Calls.
  Result Call(const Value& callee, const Arguments& arguments);
  Result CallMacro(const Macro& macro, const Arguments& arguments);
  absl::Status BindMacro(const Macro& macro, const Arguments& arguments,
                         Scope* scope);
  Result CallLoop(Loop* loop, const Arguments& arguments);
  Result CallGlobal(absl::string_view name, const Arguments& arguments);
  Result MakeRange(const Arguments& arguments);
  Result MakeDict(const Arguments& arguments);
  Result MakeNamespace(const Arguments& arguments);

  // Statements.
  absl::StatusOr<Flow> ExecBody(const Body& body, Scope* scope,
                                std::string* out);
  absl::StatusOr<Flow> Exec(const Stmt& statement, Scope* scope,
                            std::string* out);
  absl::StatusOr<Flow> ExecIf(const Stmt& statement, Scope* scope,
                              std::string* out);
  absl::Status ExecPrint(const Stmt& statement, Scope* scope, std::string* out);
  absl::Status ExecFor(const Stmt& statement, const Value& iterable,
                       Scope* scope, int depth0, std::string* out);
  absl::StatusOr<bool> ExecItems(const Stmt& statement, Loop* loop,
                                 Scope* scope, std::string* out);
  absl::StatusOr<NextFunction> ItemsOf(const Stmt& statement,
                                       const Value& iterable, Scope* scope);
  absl::Status ExecCall(const Stmt& statement, Scope* scope, std::string* out);
  absl::Status ExecWith(const Stmt& statement, Scope* scope, std::string* out);
  absl::Status ExecSet(const Stmt& statement, Scope* scope);
  // The text that `body` makes in a scope of its own.
  absl::StatusOr<std::string> Capture(const Body& body, Scope* scope);
  absl::Status Assign(const Expr& target, Value value, Scope* scope);

  Macro* NewMacro(const MacroSyntax* syntax, Scope* scope);
  void Keep(std::unique_ptr<Scope> scope);
  absl::Status Located(absl::Status status, int line);

  const Dict& variables_;
  Runtime runtime_;
  int depth_ = 0;
  bool located_ = false;
  // Borrowed by values; they live as long as the rendering.
  std::vector<std::unique_ptr<Scope>> scopes_;
  std::vector<std::unique_ptr<Macro>> macros_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
};

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_EVALUATOR_H_
