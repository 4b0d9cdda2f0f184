// Statements.

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/evaluator.h"
#include "formats/chat/jinja/iterate.h"
#include "formats/chat/jinja/values/value_text.h"

namespace narrow::jinja {

absl::StatusOr<std::string> Evaluator::Run(const Body& body) {
  std::string out;
  auto scope = std::make_unique<Scope>(nullptr, &body);
  RETURN_IF_ERROR(ExecBody(body, scope.get(), &out).status());
  return out;
}

absl::Status Evaluator::Located(absl::Status status, int line) {
  if (status.ok() || located_) {
    return status;
  }
  located_ = true;
  return Annotate(status, absl::StrCat("at line ", line, " of the template"));
}

void Evaluator::Keep(std::unique_ptr<Scope> scope) {
  if (scope->captured) {
    scopes_.push_back(std::move(scope));
  }
}

absl::StatusOr<Evaluator::Flow> Evaluator::ExecBody(const Body& body,
                                                    Scope* scope,
                                                    std::string* out) {
  for (const auto& statement : body.statements) {
    const size_t before = out->size();
    absl::StatusOr<Flow> flow = Exec(*statement, scope, out);
    absl::Status status = flow.status();
    if (status.ok()) {
      status = runtime_.Charge(1);
    }
    if (status.ok() && out->size() != before) {
      status = runtime_.ChargeSize(out->size() > Runtime::kMaxTextBytes
                                       ? out->size()
                                       : out->size() - before);
    }
    RETURN_IF_ERROR(Located(std::move(status), statement->line));
    if (*flow != Flow::kNext) {
      return flow;
    }
  }
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Exec(const Stmt& statement,
                                                Scope* scope,
                                                std::string* out) {
  switch (statement.type) {
    case Stmt::Type::kText:
      out->append(statement.text);
      break;
    case Stmt::Type::kPrint:
      RETURN_IF_ERROR(ExecPrint(statement, scope, out));
      break;
    case Stmt::Type::kIf:
      return ExecIf(statement, scope, out);
    case Stmt::Type::kFor: {
      ASSIGN_OR_RETURN(const Value iterable,
                       Eval(*statement.expressions[0], scope));
      RETURN_IF_ERROR(ExecFor(statement, iterable, scope, 0, out));
      break;
    }
    case Stmt::Type::kSet:
    case Stmt::Type::kSetBlock:
      RETURN_IF_ERROR(ExecSet(statement, scope));
      break;
    case Stmt::Type::kMacro:
      RETURN_IF_ERROR(runtime_.Charge(20));
      scope->Set(statement.macro->name,
                 Value::Of(NewMacro(statement.macro.get(), scope)));
      break;
    case Stmt::Type::kCall:
      RETURN_IF_ERROR(ExecCall(statement, scope, out));
      break;
    case Stmt::Type::kFilterBlock: {
      ASSIGN_OR_RETURN(std::string text, Capture(statement.body, scope));
      const Value block = Value::Text(std::move(text));
      ASSIGN_OR_RETURN(const Value value,
                       EvalFilter(*statement.filter, &block, scope));
      RETURN_IF_ERROR(AppendText(value, out));
      break;
    }
    case Stmt::Type::kWith:
      RETURN_IF_ERROR(ExecWith(statement, scope, out));
      break;
    case Stmt::Type::kScope: {
      ASSIGN_OR_RETURN(const std::string text, Capture(statement.body, scope));
      out->append(text);
      break;
    }
    case Stmt::Type::kBreak:
      return Flow::kBreak;
    case Stmt::Type::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

absl::Status Evaluator::ExecPrint(const Stmt& statement, Scope* scope,
                                  std::string* out) {
  ASSIGN_OR_RETURN(const Value value, Eval(*statement.expressions[0], scope));
  return AppendText(value, out);
}

absl::StatusOr<Evaluator::Flow> Evaluator::ExecIf(const Stmt& statement,
                                                  Scope* scope,
                                                  std::string* out) {
  for (const Stmt::Branch& branch : statement.branches) {
    ASSIGN_OR_RETURN(const bool truth, EvalTruth(*branch.condition, scope));
    if (truth) {
      return ExecBody(branch.body, scope, out);
    }
  }
  return ExecBody(statement.otherwise, scope, out);
}

// What a loop goes through, less what its condition leaves out. The condition
// is computed when an item is taken, in a scope without `loop`.
absl::StatusOr<NextFunction> Evaluator::ItemsOf(const Stmt& statement,
                                                const Value& iterable,
                                                Scope* scope) {
  ASSIGN_OR_RETURN(NextFunction items, Iterate(iterable));
  if (statement.condition == nullptr) {
    return items;
  }
  return NextFunction([this, &statement, scope, items = std::move(items)](
                          Value* out) -> absl::StatusOr<bool> {
    while (true) {
      ASSIGN_OR_RETURN(const bool more, items(out));
      if (!more) {
        return false;
      }
      Scope inner(scope, nullptr);
      RETURN_IF_ERROR(Assign(*statement.target, *out, &inner));
      ASSIGN_OR_RETURN(const bool wanted,
                       EvalTruth(*statement.condition, &inner));
      if (wanted) {
        return true;
      }
    }
  });
}

absl::Status Evaluator::ExecFor(const Stmt& statement, const Value& iterable,
                                Scope* scope, int depth0, std::string* out) {
  loops_.push_back(std::make_unique<Loop>());
  Loop* loop = loops_.back().get();
  loop->depth0 = depth0;
  loop->statement = &statement;
  loop->scope = scope;
  ASSIGN_OR_RETURN(loop->next, ItemsOf(statement, iterable, scope));
  if (statement.condition == nullptr && iterable.kind() != Kind::kIterator) {
    ASSIGN_OR_RETURN(loop->length, LengthOf(iterable));
  }
  ASSIGN_OR_RETURN(const bool any, ExecItems(statement, loop, scope, out));
  // Values may still point to the loop if the template could name it.
  const bool is_last = loops_.back().get() == loop;
  if (is_last && !statement.uses_loop) {
    loops_.pop_back();
  } else {
    *loop = Loop();
    loop->ended = true;
  }
  if (!any && !statement.otherwise.statements.empty()) {
    auto inner = std::make_unique<Scope>(scope, &statement.otherwise);
    ASSIGN_OR_RETURN(const Flow flow,
                     ExecBody(statement.otherwise, inner.get(), out));
    Keep(std::move(inner));
    if (flow != Flow::kNext) {
      return absl::UnimplementedError(
          "{% break %} or {% continue %} in the else of a loop");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Evaluator::ExecItems(const Stmt& statement, Loop* loop,
                                          Scope* scope, std::string* out) {
  // One scope for all rounds, as Jinja's compiled loops have: a macro that is
  // defined in the body sees the round that is running.
  auto inner = std::make_unique<Scope>(scope, &statement.body);
  bool any = false;
  while (true) {
    RETURN_IF_ERROR(runtime_.Charge(1));
    bool more;
    Value item;
    if (statement.uses_loop) {
      ASSIGN_OR_RETURN(more, loop->Advance());
    } else {
      ASSIGN_OR_RETURN(more, loop->next(&item));
    }
    if (!more) {
      break;
    }
    any = true;
    inner->values.clear();
    if (statement.uses_loop) {
      item = *loop->current;
      inner->Set("loop", Value::Of(loop));
    }
    RETURN_IF_ERROR(Assign(*statement.target, std::move(item), inner.get()));
    ASSIGN_OR_RETURN(const Flow flow,
                     ExecBody(statement.body, inner.get(), out));
    if (flow == Flow::kBreak) {
      break;
    }
  }
  Keep(std::move(inner));
  return any;
}

absl::StatusOr<Value> Evaluator::CallLoop(Loop* loop,
                                          const Arguments& arguments) {
  ASSIGN_OR_RETURN(Parameters p, Bind("loop", arguments, {"iterable"}));
  ASSIGN_OR_RETURN(const Value iterable, p.Required(0));
  if (loop->statement == nullptr || !loop->statement->recursive) {
    return absl::InvalidArgumentError(
        "a loop must be marked 'recursive' to be called");
  }
  std::string out;
  RETURN_IF_ERROR(
      ExecFor(*loop->statement, iterable, loop->scope, loop->depth0 + 1, &out));
  return Value::Text(std::move(out));
}

absl::Status Evaluator::ExecCall(const Stmt& statement, Scope* scope,
                                 std::string* out) {
  RETURN_IF_ERROR(runtime_.Charge(20));
  const Expr& call = *statement.expressions[0];
  ASSIGN_OR_RETURN(const Value callee, Eval(*call.children[0], scope));
  ASSIGN_OR_RETURN(Arguments arguments, EvalArguments(call, scope));
  arguments.named.emplace_back(
      "caller", Value::Of(NewMacro(statement.macro.get(), scope)));
  ASSIGN_OR_RETURN(const Value result, Call(callee, arguments));
  return AppendText(result, out);
}

absl::Status Evaluator::ExecWith(const Stmt& statement, Scope* scope,
                                 std::string* out) {
  auto inner = std::make_unique<Scope>(scope, &statement.body);
  for (size_t i = 0; i < statement.targets.size(); ++i) {
    // Values do not see each other's names.
    ASSIGN_OR_RETURN(Value value, Eval(*statement.expressions[i], scope));
    inner->Set(statement.targets[i]->text, std::move(value));
  }
  ASSIGN_OR_RETURN(const Flow flow, ExecBody(statement.body, inner.get(), out));
  Keep(std::move(inner));
  if (flow != Flow::kNext) {
    return absl::UnimplementedError(
        "{% break %} or {% continue %} out of {% with %}");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Evaluator::Capture(const Body& body, Scope* scope) {
  auto inner = std::make_unique<Scope>(scope, &body);
  std::string out;
  ASSIGN_OR_RETURN(const Flow flow, ExecBody(body, inner.get(), &out));
  Keep(std::move(inner));
  if (flow != Flow::kNext) {
    return absl::UnimplementedError(
        "{% break %} or {% continue %} out of a block that makes a value");
  }
  return out;
}

absl::Status Evaluator::ExecSet(const Stmt& statement, Scope* scope) {
  if (statement.type == Stmt::Type::kSet) {
    ASSIGN_OR_RETURN(Value value, Eval(*statement.expressions[0], scope));
    return Assign(*statement.target, std::move(value), scope);
  }
  ASSIGN_OR_RETURN(std::string text, Capture(statement.body, scope));
  Value value = Value::Text(std::move(text));
  if (statement.filter != nullptr) {
    ASSIGN_OR_RETURN(value, EvalFilter(*statement.filter, &value, scope));
  }
  return Assign(*statement.target, std::move(value), scope);
}

absl::Status Evaluator::Assign(const Expr& target, Value value, Scope* scope) {
  if (target.type == Expr::Type::kName) {
    scope->Set(target.text, std::move(value));
    return absl::OkStatus();
  }
  if (target.type == Expr::Type::kMember) {
    const Value owner = Resolve(target.text, scope);
    if (owner.kind() != Kind::kNamespace) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot assign attribute on non-namespace object '",
                       target.text, "'"));
    }
    if (absl::StartsWith(target.member, "_")) {
      return absl::InvalidArgumentError(
          "a namespace's names begin with no underscore");
    }
    owner.name_space()->Set(target.member, value);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(runtime_, value));
  if (items.size() != target.children.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot take apart ", items.size(), " values into ",
                     target.children.size(), " names"));
  }
  for (size_t i = 0; i < items.size(); ++i) {
    RETURN_IF_ERROR(Assign(*target.children[i], items[i], scope));
  }
  return absl::OkStatus();
}

}  // namespace narrow::jinja
