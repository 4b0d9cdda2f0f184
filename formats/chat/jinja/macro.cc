// Macros: how arguments find their parameters.

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/evaluator.h"

namespace narrow::jinja {
namespace {

// Takes the named argument out of `named`, or leaves `value` as it is.
bool Take(absl::string_view name,
          std::vector<std::pair<std::string, Value>>* named, Value* value) {
  for (auto it = named->begin(); it != named->end(); ++it) {
    if (it->first == name) {
      *value = std::move(it->second);
      named->erase(it);
      return true;
    }
  }
  return false;
}

}  // namespace

Macro* Evaluator::NewMacro(const MacroSyntax* syntax, Scope* scope) {
  scope->Capture();
  macros_.push_back(std::make_unique<Macro>(Macro{syntax, scope}));
  return macros_.back().get();
}

absl::Status Evaluator::BindMacro(const Macro& macro,
                                  const Arguments& arguments, Scope* scope) {
  const MacroSyntax& syntax = *macro.syntax;
  const size_t n_parameters = syntax.parameters.size();
  const size_t first_default = n_parameters - syntax.defaults.size();
  std::vector<std::pair<std::string, Value>> named = arguments.named;
  for (size_t i = 0; i < n_parameters; ++i) {
    const std::string& name = syntax.parameters[i];
    Value value = Value::Undefined(
        absl::StrCat("parameter '", name, "' was not provided"));
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else if (!Take(name, &named, &value) && i >= first_default) {
      // Defaults see the parameters before them.
      ASSIGN_OR_RETURN(value, Eval(*syntax.defaults[i - first_default], scope));
    }
    scope->Set(name, std::move(value));
  }
  if (syntax.uses_caller && scope->Find("caller") == nullptr) {
    Value caller = Value::Undefined("No caller defined");
    Take("caller", &named, &caller);
    scope->Set("caller", std::move(caller));
  }
  if (syntax.uses_kwargs) {
    Dict rest;
    for (const auto& [name, value] : named) {
      rest.Set(Value::Text(name), value);
    }
    scope->Set("kwargs", Value::Of(std::move(rest)));
  } else if (!named.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("macro '", syntax.name, "' takes no keyword argument ",
                     QuotedName(named[0].first)));
  }
  if (syntax.uses_varargs) {
    std::vector<Value> rest;
    for (size_t i = n_parameters; i < arguments.positional.size(); ++i) {
      rest.push_back(arguments.positional[i]);
    }
    scope->Set("varargs", Value::Tuple(std::move(rest)));
  } else if (arguments.positional.size() > n_parameters) {
    return absl::InvalidArgumentError(absl::StrCat("macro '", syntax.name,
                                                   "' takes not more than ",
                                                   n_parameters, " arguments"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Value> Evaluator::CallMacro(const Macro& macro,
                                           const Arguments& arguments) {
  auto scope = std::make_unique<Scope>(macro.scope, &macro.syntax->body);
  RETURN_IF_ERROR(BindMacro(macro, arguments, scope.get()));
  std::string out;
  RETURN_IF_ERROR(ExecBody(macro.syntax->body, scope.get(), &out).status());
  Keep(std::move(scope));
  return Value::Text(std::move(out));
}

}  // namespace narrow::jinja
