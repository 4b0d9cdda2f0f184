#include "formats/chat/jinja/syntax/hidden_names.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow::jinja {
namespace {

// What is known of the names of one scope, in the order of its statements.
class Names {
 public:
  explicit Names(const Names* parent) : parent_(parent) {}

  void Parameter(const std::string& name) { known_[name] = Meaning::kVisible; }
  void Load(const std::string& name) {
    if (!Knows(name)) {
      known_[name] = Meaning::kVisible;
    }
  }
  void Store(const std::string& name) {
    stored_.insert(name);
    if (known_.count(name) == 0) {
      known_[name] = ParentKnows(name) ? Meaning::kVisible : Meaning::kHidden;
    }
  }

  // After branches that each began as a copy of this: what some of them set
  // and others do not means what it meant before.
  void Merge(const std::vector<Names>& branches) {
    std::map<std::string, size_t> n_stores;
    for (const Names& branch : branches) {
      for (const std::string& name : branch.stored_) {
        n_stores[name] += stored_.count(name) == 0 ? 1 : 0;
      }
    }
    const std::set<std::string> stored_before = stored_;
    for (const Names& branch : branches) {
      for (const auto& [name, meaning] : branch.known_) {
        known_[name] = meaning;
      }
      stored_.insert(branch.stored_.begin(), branch.stored_.end());
    }
    for (const auto& [name, n] : n_stores) {
      if (n > 0 && n < branches.size() && stored_before.count(name) == 0) {
        known_[name] = Meaning::kVisible;
      }
    }
  }

  std::vector<std::string> Hidden() const {
    std::vector<std::string> names;
    for (const auto& [name, meaning] : known_) {
      if (meaning == Meaning::kHidden) {
        names.push_back(name);
      }
    }
    return names;
  }

 private:
  enum class Meaning { kVisible, kHidden };

  bool Knows(const std::string& name) const {
    return known_.count(name) != 0 || ParentKnows(name);
  }
  bool ParentKnows(const std::string& name) const {
    return parent_ != nullptr && parent_->Knows(name);
  }

  const Names* parent_;
  std::map<std::string, Meaning> known_;
  std::set<std::string> stored_;
};

void VisitExpr(const Expr* expr, Names* names) {
  if (expr == nullptr) {
    return;
  }
  if (expr->type == Expr::Type::kName || expr->type == Expr::Type::kMember) {
    names->Load(expr->text);
  }
  for (const ExprPtr& child : expr->children) {
    VisitExpr(child.get(), names);
  }
  for (const ExprPtr& argument : expr->arguments) {
    VisitExpr(argument.get(), names);
  }
  for (const auto& [name, argument] : expr->named_arguments) {
    VisitExpr(argument.get(), names);
  }
  VisitExpr(expr->star_arguments.get(), names);
  VisitExpr(expr->star_star_arguments.get(), names);
}

void VisitTarget(const Expr* target, bool as_parameter, Names* names) {
  if (target->type == Expr::Type::kMember) {
    names->Load(target->text);
  } else if (target->type == Expr::Type::kName) {
    as_parameter ? names->Parameter(target->text) : names->Store(target->text);
  }
  for (const ExprPtr& child : target->children) {
    VisitTarget(child.get(), as_parameter, names);
  }
}

void VisitBody(const Body& body, Names* names);

void VisitIf(const Stmt& statement, size_t first_branch, Names* names) {
  const Stmt::Branch& branch = statement.branches[first_branch];
  VisitExpr(branch.condition.get(), names);
  // The body, all the elif branches, the else branch; the conditions of elif
  // branches belong to the second.
  std::vector<Names> branches(3, *names);
  VisitBody(branch.body, &branches[0]);
  if (first_branch == 0) {
    for (size_t i = 1; i < statement.branches.size(); ++i) {
      VisitIf(statement, i, &branches[1]);
    }
    VisitBody(statement.otherwise, &branches[2]);
  }
  names->Merge(branches);
}

void VisitStatement(const Stmt& statement, Names* names) {
  switch (statement.type) {
    case Stmt::Type::kIf:
      VisitIf(statement, 0, names);
      return;
    case Stmt::Type::kMacro:
      names->Store(statement.macro->name);
      return;
    default:
      break;
  }
  for (const ExprPtr& expr : statement.expressions) {
    VisitExpr(expr.get(), names);
  }
  if (statement.type == Stmt::Type::kFilterBlock) {
    VisitExpr(statement.filter.get(), names);
  }
  if (statement.type == Stmt::Type::kSet ||
      statement.type == Stmt::Type::kSetBlock) {
    VisitTarget(statement.target.get(), false, names);
  }
}

void VisitBody(const Body& body, Names* names) {
  for (const auto& statement : body.statements) {
    VisitStatement(*statement, names);
  }
}

void FindIn(Body* body, const Names& names);

// A scope below `parent`, whose own names are already in `names`.
void FindInScope(Body* body, Names names) {
  VisitBody(*body, &names);
  body->hidden_names = names.Hidden();
  FindIn(body, names);
}

void FindInMacro(MacroSyntax* macro, const Names& parent) {
  Names names(&parent);
  for (const std::string& parameter : macro->parameters) {
    names.Parameter(parameter);
  }
  for (const char* name : {"caller", "kwargs", "varargs"}) {
    names.Parameter(name);
  }
  for (const ExprPtr& value : macro->defaults) {
    VisitExpr(value.get(), &names);
  }
  FindInScope(&macro->body, names);
}

// The scopes that open in `body`, whose scope has `names`.
void FindIn(Body* body, const Names& names) {
  for (const auto& statement : body->statements) {
    Names inner(&names);
    switch (statement->type) {
      case Stmt::Type::kFor:
        FindInScope(&statement->otherwise, inner);
        inner.Parameter("loop");
        VisitTarget(statement->target.get(), true, &inner);
        FindInScope(&statement->body, inner);
        break;
      case Stmt::Type::kIf:
        for (Stmt::Branch& branch : statement->branches) {
          FindIn(&branch.body, names);
        }
        FindIn(&statement->otherwise, names);
        break;
      case Stmt::Type::kMacro:
      case Stmt::Type::kCall:
        FindInMacro(statement->macro.get(), names);
        break;
      case Stmt::Type::kWith:
        for (const ExprPtr& target : statement->targets) {
          inner.Parameter(target->text);
        }
        FindInScope(&statement->body, inner);
        break;
      case Stmt::Type::kSetBlock:
      case Stmt::Type::kFilterBlock:
      case Stmt::Type::kScope:
        FindInScope(&statement->body, inner);
        break;
      default:
        break;
    }
  }
}

}  // namespace

void FindHiddenNames(Body* body) { FindInScope(body, Names(nullptr)); }

}  // namespace narrow::jinja
