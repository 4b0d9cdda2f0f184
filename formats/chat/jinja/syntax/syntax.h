// A parsed template: statements and expressions as trees.
//
// Plain data, made by ParseTemplate and never changed after it. Depth is
// bounded, so that walking a tree cannot exhaust the stack.

#ifndef NARROW_FORMATS_CHAT_JINJA_SYNTAX_SYNTAX_H_
#define NARROW_FORMATS_CHAT_JINJA_SYNTAX_SYNTAX_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

inline constexpr int kMaxSyntaxDepth = 200;

enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Type {
    kConstant,
    kName,         // text
    kTuple,        // children
    kList,         // children
    kDict,         // children: key, value, key, value ...
    kConditional,  // children: then, condition, else (may be null)
    kOr,           // children: two
    kAnd,          // children: two
    kNot,          // children: one
    kCompare,      // children: n + 1, operators: n
    kBinary,       // children: two, operators: one
    kNegate,       // children: one
    kPlus,         // children: one
    kConcat,       // children, joined as text
    kAttribute,    // children: one; text
    kItem,         // children: two
    kSlice,        // children: start, stop, step, any may be null
    kCall,         // children: one; arguments
    kFilter,       // children: one, null as the filter of a block; text
    kTest,         // children: one; text; arguments
    kMember,       // of a namespace, as a target: text, then member
  };

  Type type = Type::kConstant;
  int line = 0;
  int depth = 1;
  std::string text;
  std::string member;
  Value constant;
  std::vector<ExprPtr> children;
  std::vector<Operator> operators;
  // Of a call, filter or test.
  std::vector<ExprPtr> arguments;
  std::vector<std::pair<std::string, ExprPtr>> named_arguments;
  ExprPtr star_arguments;       // *list
  ExprPtr star_star_arguments;  // **dictionary
};

struct Stmt;

// Statements that share a scope, or a branch of it.
struct Body {
  std::vector<std::unique_ptr<Stmt>> statements;
  // Names that are set here before anything else happens to them: until then
  // they are undefined, even if the template was given such a variable.
  // Filled for bodies that have a scope of their own.
  std::vector<std::string> hidden_names;
};

struct MacroSyntax {
  std::string name;
  std::vector<std::string> parameters;
  // Of the last parameters.
  std::vector<ExprPtr> defaults;
  Body body;
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
};

struct Stmt {
  enum class Type {
    kText,         // text
    kPrint,        // expressions
    kFor,          // target, expressions[0], condition, body, otherwise
    kIf,           // branches, otherwise
    kSet,          // target, expressions[0]
    kSetBlock,     // target, filter, body
    kMacro,        // macro
    kCall,         // expressions[0], a call; macro: its caller
    kFilterBlock,  // filter, body
    kWith,         // targets, expressions, body
    kScope,        // body: {% generation %}
    kBreak,
    kContinue,
  };
  struct Branch {
    ExprPtr condition;
    Body body;
  };

  Type type = Type::kText;
  int line = 0;
  std::string text;
  ExprPtr target;
  std::vector<ExprPtr> targets;
  std::vector<ExprPtr> expressions;
  ExprPtr condition;
  ExprPtr filter;
  Body body;
  Body otherwise;
  std::vector<Branch> branches;
  std::unique_ptr<MacroSyntax> macro;
  bool recursive = false;
  bool uses_loop = false;  // "loop" is named in the body
};

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_SYNTAX_SYNTAX_H_
