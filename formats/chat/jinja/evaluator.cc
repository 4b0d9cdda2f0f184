#include "formats/chat/jinja/evaluator.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/attributes.h"
#include "formats/chat/jinja/builtins/filters.h"
#include "formats/chat/jinja/builtins/globals.h"
#include "formats/chat/jinja/builtins/tests.h"
#include "formats/chat/jinja/iterate.h"
#include "formats/chat/jinja/operators.h"
#include "formats/chat/jinja/values/value_text.h"

namespace narrow::jinja {

Value Evaluator::Resolve(absl::string_view name, const Scope* scope) const {
  for (; scope != nullptr; scope = scope->parent) {
    if (const Value* value = scope->Find(name)) {
      return *value;
    }
    if (scope->Hides(name)) {
      return Value::Undefined(absl::StrCat("'", name, "' is undefined"));
    }
  }
  if (const Value* value = variables_.Find(name)) {
    return *value;
  }
  if (IsGlobal(name)) {
    return Value::Function(name);
  }
  return Value::Undefined(absl::StrCat("'", name, "' is undefined"));
}

absl::StatusOr<Value> Evaluator::Checked(Value value) const {
  if (value.depth() > Runtime::kMaxValueDepth) {
    return absl::InvalidArgumentError("values nested too deeply");
  }
  return value;
}

absl::StatusOr<Value> Evaluator::Eval(const Expr& expr, Scope* scope) {
  RETURN_IF_ERROR(runtime_.Charge(1));
  if (depth_ >= Runtime::kMaxDepth) {
    return absl::InvalidArgumentError("the template recurses too deeply");
  }
  ++depth_;
  Result result = EvalKind(expr, scope);
  --depth_;
  return result;
}

absl::StatusOr<bool> Evaluator::EvalTruth(const Expr& expr, Scope* scope) {
  ASSIGN_OR_RETURN(const Value value, Eval(expr, scope));
  return value.Truth();
}

absl::StatusOr<Value> Evaluator::EvalKind(const Expr& expr, Scope* scope) {
  switch (expr.type) {
    case Expr::Type::kConstant:
      return expr.constant;
    case Expr::Type::kName:
      return Resolve(expr.text, scope);
    case Expr::Type::kTuple:
    case Expr::Type::kList:
      return EvalList(expr, scope);
    case Expr::Type::kDict:
      return EvalDict(expr, scope);
    case Expr::Type::kConditional:
      return EvalConditional(expr, scope);
    case Expr::Type::kOr:
    case Expr::Type::kAnd: {
      ASSIGN_OR_RETURN(Value left, Eval(*expr.children[0], scope));
      if (left.Truth() == (expr.type == Expr::Type::kOr)) {
        return left;
      }
      return Eval(*expr.children[1], scope);
    }
    case Expr::Type::kNot: {
      ASSIGN_OR_RETURN(const bool truth, EvalTruth(*expr.children[0], scope));
      return Value::Bool(!truth);
    }
    case Expr::Type::kCompare:
      return EvalCompare(expr, scope);
    case Expr::Type::kBinary: {
      ASSIGN_OR_RETURN(const Value left, Eval(*expr.children[0], scope));
      ASSIGN_OR_RETURN(const Value right, Eval(*expr.children[1], scope));
      return Apply(runtime_, expr.operators[0], left, right);
    }
    case Expr::Type::kNegate: {
      ASSIGN_OR_RETURN(const Value value, Eval(*expr.children[0], scope));
      return Negate(value);
    }
    case Expr::Type::kPlus: {
      ASSIGN_OR_RETURN(const Value value, Eval(*expr.children[0], scope));
      return Apply(runtime_, Operator::kAdd, Value::Int(0), value);
    }
    case Expr::Type::kConcat:
      return EvalConcat(expr, scope);
    case Expr::Type::kAttribute: {
      ASSIGN_OR_RETURN(const Value value, Eval(*expr.children[0], scope));
      return GetAttribute(value, expr.text);
    }
    case Expr::Type::kItem:
      return EvalItem(expr, scope);
    case Expr::Type::kCall:
      return EvalCall(expr, scope);
    case Expr::Type::kFilter:
      return EvalFilter(expr, nullptr, scope);
    case Expr::Type::kTest:
      return EvalTest(expr, scope);
    case Expr::Type::kSlice:
    case Expr::Type::kMember:
      break;
  }
  return absl::UnimplementedError("a slice among other subscripts");
}

absl::StatusOr<Value> Evaluator::EvalList(const Expr& expr, Scope* scope) {
  std::vector<Value> items;
  items.reserve(expr.children.size());
  for (const ExprPtr& child : expr.children) {
    ASSIGN_OR_RETURN(Value item, Eval(*child, scope));
    items.push_back(std::move(item));
  }
  return Checked(expr.type == Expr::Type::kTuple
                     ? Value::Tuple(std::move(items))
                     : Value::List(std::move(items)));
}

absl::StatusOr<Value> Evaluator::EvalDict(const Expr& expr, Scope* scope) {
  Dict dict;
  for (size_t i = 0; i + 1 < expr.children.size(); i += 2) {
    ASSIGN_OR_RETURN(const Value key, Eval(*expr.children[i], scope));
    ASSIGN_OR_RETURN(const Value value, Eval(*expr.children[i + 1], scope));
    if (key.is_list() || key.is_dict()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a ", TypeName(key), " cannot be a key"));
    }
    dict.Set(key, value);
  }
  return Checked(Value::Of(std::move(dict)));
}

absl::StatusOr<Value> Evaluator::EvalCompare(const Expr& expr, Scope* scope) {
  ASSIGN_OR_RETURN(Value left, Eval(*expr.children[0], scope));
  Value result;
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    ASSIGN_OR_RETURN(Value right, Eval(*expr.children[i + 1], scope));
    ASSIGN_OR_RETURN(result, Apply(runtime_, expr.operators[i], left, right));
    if (!result.Truth()) {
      break;
    }
    left = std::move(right);
  }
  return result;
}

absl::StatusOr<Value> Evaluator::EvalConcat(const Expr& expr, Scope* scope) {
  std::string text;
  for (const ExprPtr& child : expr.children) {
    ASSIGN_OR_RETURN(const Value value, Eval(*child, scope));
    RETURN_IF_ERROR(AppendText(value, &text));
    RETURN_IF_ERROR(runtime_.ChargeSize(text.size()));
  }
  return Value::Text(std::move(text));
}

absl::StatusOr<Value> Evaluator::EvalItem(const Expr& expr, Scope* scope) {
  ASSIGN_OR_RETURN(const Value value, Eval(*expr.children[0], scope));
  const Expr& index = *expr.children[1];
  if (index.type != Expr::Type::kSlice) {
    ASSIGN_OR_RETURN(const Value key, Eval(index, scope));
    return GetItem(value, key);
  }
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    bounds[i] = Value::None();
    if (index.children[i] != nullptr) {
      ASSIGN_OR_RETURN(bounds[i], Eval(*index.children[i], scope));
    }
  }
  return GetSlice(runtime_, value, bounds[0], bounds[1], bounds[2]);
}

absl::StatusOr<Value> Evaluator::EvalConditional(const Expr& expr,
                                                 Scope* scope) {
  ASSIGN_OR_RETURN(const bool truth, EvalTruth(*expr.children[1], scope));
  if (truth) {
    return Eval(*expr.children[0], scope);
  }
  if (expr.children[2] != nullptr) {
    return Eval(*expr.children[2], scope);
  }
  return Value::Undefined(
      "the inline if-expression evaluated to false and no else section was "
      "defined");
}

absl::StatusOr<Arguments> Evaluator::EvalArguments(const Expr& expr,
                                                   Scope* scope) {
  Arguments arguments;
  for (const ExprPtr& argument : expr.arguments) {
    ASSIGN_OR_RETURN(Value value, Eval(*argument, scope));
    arguments.positional.push_back(std::move(value));
  }
  if (expr.star_arguments != nullptr) {
    ASSIGN_OR_RETURN(const Value list, Eval(*expr.star_arguments, scope));
    ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(runtime_, list));
    arguments.positional.insert(arguments.positional.end(), items.begin(),
                                items.end());
  }
  for (const auto& [name, argument] : expr.named_arguments) {
    ASSIGN_OR_RETURN(Value value, Eval(*argument, scope));
    arguments.named.emplace_back(name, std::move(value));
  }
  if (expr.star_star_arguments != nullptr) {
    ASSIGN_OR_RETURN(const Value dict, Eval(*expr.star_star_arguments, scope));
    if (!dict.is_dict()) {
      return absl::InvalidArgumentError(
          absl::StrCat("** of a ", TypeName(dict)));
    }
    for (const auto& [key, value] : dict.dict().members) {
      if (!key.is_string()) {
        return absl::InvalidArgumentError("** with keys that are no text");
      }
      arguments.named.emplace_back(std::string(key.text()), value);
    }
  }
  return arguments;
}

absl::StatusOr<Value> Evaluator::EvalCall(const Expr& expr, Scope* scope) {
  ASSIGN_OR_RETURN(const Value callee, Eval(*expr.children[0], scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvalArguments(expr, scope));
  ASSIGN_OR_RETURN(Value result, Call(callee, arguments));
  return Checked(std::move(result));
}

absl::StatusOr<Value> Evaluator::EvalTest(const Expr& expr, Scope* scope) {
  ASSIGN_OR_RETURN(const Value value, Eval(*expr.children[0], scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvalArguments(expr, scope));
  ASSIGN_OR_RETURN(const bool truth,
                   ApplyTest(runtime_, expr.text, value, arguments));
  return Value::Bool(truth);
}

absl::StatusOr<Value> Evaluator::EvalFilter(const Expr& expr,
                                            const Value* block, Scope* scope) {
  Value value;
  const Expr* operand = expr.children[0].get();
  if (operand == nullptr) {
    if (block == nullptr) {
      return absl::InvalidArgumentError("a filter without a value");
    }
    value = *block;
  } else if (block != nullptr && operand->type == Expr::Type::kFilter) {
    ASSIGN_OR_RETURN(value, EvalFilter(*operand, block, scope));
  } else {
    ASSIGN_OR_RETURN(value, Eval(*operand, scope));
  }
  ASSIGN_OR_RETURN(const Arguments arguments, EvalArguments(expr, scope));
  ASSIGN_OR_RETURN(Value result,
                   ApplyFilter(runtime_, expr.text, value, arguments));
  return Checked(std::move(result));
}

absl::StatusOr<Value> Evaluator::Call(const Value& callee,
                                      const Arguments& arguments) {
  switch (callee.kind()) {
    case Kind::kUndefined:
      return absl::InvalidArgumentError(callee.why());
    case Kind::kMethod:
      return CallMethod(runtime_, callee.method(), arguments);
    case Kind::kMacro:
      return CallMacro(*callee.macro(), arguments);
    case Kind::kLoop:
      return CallLoop(callee.loop(), arguments);
    case Kind::kFunction:
      return CallGlobal(callee.function_name(), arguments);
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a ", TypeName(callee), " cannot be called"));
  }
}

}  // namespace narrow::jinja
