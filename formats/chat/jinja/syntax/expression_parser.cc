#include "formats/chat/jinja/syntax/expression_parser.h"

#include <algorithm>
#include <utility>

namespace narrow::jinja {
namespace {

// Parsing takes a dozen calls a level of parentheses.
constexpr int kMaxNesting = 60;

struct OperatorRow {
  absl::string_view text;
  Operator op;
};
constexpr OperatorRow kCompareOperators[] = {
    {"==", Operator::kEqual},  {"!=", Operator::kNotEqual},
    {"<", Operator::kLess},    {"<=", Operator::kLessEqual},
    {">", Operator::kGreater}, {">=", Operator::kGreaterEqual},
};
constexpr OperatorRow kProductOperators[] = {
    {"*", Operator::kMultiply},
    {"/", Operator::kDivide},
    {"//", Operator::kFloorDivide},
    {"%", Operator::kModulo},
};

template <size_t n>
const OperatorRow* FindOperator(const TokenStream& stream,
                                const OperatorRow (&rows)[n]) {
  for (const OperatorRow& row : rows) {
    if (stream.IsOperator(row.text)) {
      return &row;
    }
  }
  return nullptr;
}

bool IsTarget(const Expr& expr) {
  if (expr.type == Expr::Type::kTuple) {
    return std::all_of(expr.children.begin(), expr.children.end(),
                       [](const ExprPtr& e) { return IsTarget(*e); });
  }
  return expr.type == Expr::Type::kName || expr.type == Expr::Type::kMember;
}

}  // namespace

ExprPtr ExpressionParser::New(Expr::Type type) const {
  auto expr = std::make_unique<Expr>();
  expr->type = type;
  expr->line = stream_.current().line;
  return expr;
}

ExprPtr ExpressionParser::New(Expr::Type type, ExprPtr a, ExprPtr b) const {
  ExprPtr expr = New(type);
  expr->children.push_back(std::move(a));
  if (b != nullptr) {
    expr->children.push_back(std::move(b));
  }
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::Finish(ExprPtr expr) const {
  int depth = 0;
  const auto note = [&depth](const ExprPtr& e) {
    depth = e == nullptr ? depth : std::max(depth, e->depth);
  };
  for (const ExprPtr& e : expr->children) {
    note(e);
  }
  for (const ExprPtr& e : expr->arguments) {
    note(e);
  }
  for (const auto& [name, e] : expr->named_arguments) {
    note(e);
  }
  note(expr->star_arguments);
  note(expr->star_star_arguments);
  expr->depth = depth + 1;
  if (expr->depth > kMaxSyntaxDepth) {
    return stream_.Error("an expression nested too deeply");
  }
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseExpression(
    bool with_conditional) {
  if (nesting_ >= kMaxNesting) {
    return stream_.Error("an expression nested too deeply");
  }
  ++nesting_;
  Result result = with_conditional ? ParseConditional() : ParseOr();
  --nesting_;
  return result;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseConditional() {
  ASSIGN_OR_RETURN(ExprPtr expr, ParseOr());
  while (stream_.SkipName("if")) {
    ASSIGN_OR_RETURN(ExprPtr condition, ParseOr());
    ExprPtr otherwise;
    if (stream_.SkipName("else")) {
      // Chains of them nest to the right, by way of the depth's limit.
      ASSIGN_OR_RETURN(otherwise, ParseExpression());
    }
    expr = New(Expr::Type::kConditional, std::move(expr), std::move(condition));
    expr->children.push_back(std::move(otherwise));
    ASSIGN_OR_RETURN(expr, Finish(std::move(expr)));
  }
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseOr() {
  ASSIGN_OR_RETURN(ExprPtr left, ParseAnd());
  while (stream_.SkipName("or")) {
    ASSIGN_OR_RETURN(ExprPtr right, ParseAnd());
    ASSIGN_OR_RETURN(
        left, Finish(New(Expr::Type::kOr, std::move(left), std::move(right))));
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseAnd() {
  ASSIGN_OR_RETURN(ExprPtr left, ParseNot());
  while (stream_.SkipName("and")) {
    ASSIGN_OR_RETURN(ExprPtr right, ParseNot());
    ASSIGN_OR_RETURN(
        left, Finish(New(Expr::Type::kAnd, std::move(left), std::move(right))));
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseNot() {
  int n_nots = 0;
  while (stream_.SkipName("not")) {
    ++n_nots;
  }
  ASSIGN_OR_RETURN(ExprPtr expr, ParseCompare());
  for (; n_nots > 0; --n_nots) {
    ASSIGN_OR_RETURN(expr, Finish(New(Expr::Type::kNot, std::move(expr))));
  }
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseCompare() {
  ASSIGN_OR_RETURN(ExprPtr first, ParseSum());
  ExprPtr compare;
  while (true) {
    Operator op;
    if (const OperatorRow* row = FindOperator(stream_, kCompareOperators)) {
      op = row->op;
      stream_.Skip();
    } else if (stream_.SkipName("in")) {
      op = Operator::kIn;
    } else if (stream_.IsName("not") &&
               stream_.next().type == Token::Type::kName &&
               stream_.next().text == "in") {
      op = Operator::kNotIn;
      stream_.Skip();
      stream_.Skip();
    } else {
      break;
    }
    if (compare == nullptr) {
      compare = New(Expr::Type::kCompare, std::move(first));
    }
    compare->operators.push_back(op);
    ASSIGN_OR_RETURN(ExprPtr right, ParseSum());
    compare->children.push_back(std::move(right));
  }
  if (compare == nullptr) {
    return first;
  }
  return Finish(std::move(compare));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseSum() {
  ASSIGN_OR_RETURN(ExprPtr left, ParseConcat());
  while (stream_.IsOperator("+") || stream_.IsOperator("-")) {
    const Operator op =
        stream_.IsOperator("+") ? Operator::kAdd : Operator::kSubtract;
    stream_.Skip();
    ASSIGN_OR_RETURN(ExprPtr right, ParseConcat());
    left = New(Expr::Type::kBinary, std::move(left), std::move(right));
    left->operators = {op};
    ASSIGN_OR_RETURN(left, Finish(std::move(left)));
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseConcat() {
  ASSIGN_OR_RETURN(ExprPtr first, ParseProduct());
  if (!stream_.IsOperator("~")) {
    return first;
  }
  ExprPtr concat = New(Expr::Type::kConcat, std::move(first));
  while (stream_.SkipOperator("~")) {
    ASSIGN_OR_RETURN(ExprPtr part, ParseProduct());
    concat->children.push_back(std::move(part));
  }
  return Finish(std::move(concat));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseProduct() {
  ASSIGN_OR_RETURN(ExprPtr left, ParsePower());
  while (const OperatorRow* row = FindOperator(stream_, kProductOperators)) {
    stream_.Skip();
    ASSIGN_OR_RETURN(ExprPtr right, ParsePower());
    left = New(Expr::Type::kBinary, std::move(left), std::move(right));
    left->operators = {row->op};
    ASSIGN_OR_RETURN(left, Finish(std::move(left)));
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParsePower() {
  // To the left, and looser than a sign: Jinja's, not Python's.
  ASSIGN_OR_RETURN(ExprPtr left, ParseUnary(true));
  while (stream_.SkipOperator("**")) {
    ASSIGN_OR_RETURN(ExprPtr right, ParseUnary(true));
    left = New(Expr::Type::kBinary, std::move(left), std::move(right));
    left->operators = {Operator::kPower};
    ASSIGN_OR_RETURN(left, Finish(std::move(left)));
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseUnary(bool with_filters) {
  ExprPtr expr;
  if (stream_.IsOperator("-") || stream_.IsOperator("+")) {
    if (nesting_ >= kMaxNesting) {
      return stream_.Error("an expression nested too deeply");
    }
    const Expr::Type type =
        stream_.IsOperator("-") ? Expr::Type::kNegate : Expr::Type::kPlus;
    stream_.Skip();
    ++nesting_;
    Result operand = ParseUnary(false);
    --nesting_;
    RETURN_IF_ERROR(operand.status());
    ASSIGN_OR_RETURN(expr, Finish(New(type, *std::move(operand))));
  } else {
    ASSIGN_OR_RETURN(expr, ParsePrimary(false));
  }
  ASSIGN_OR_RETURN(expr, ParsePostfix(std::move(expr)));
  if (with_filters) {
    return ParseFiltersAndTests(std::move(expr));
  }
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParsePrimary(bool with_members) {
  const Token& token = stream_.current();
  ExprPtr expr = New(Expr::Type::kConstant);
  switch (token.type) {
    case Token::Type::kName:
      return ParseNamed(with_members);
    case Token::Type::kString: {
      std::string text;
      while (stream_.Is(Token::Type::kString)) {
        text += stream_.current().text;
        stream_.Skip();
      }
      expr->constant = Value::Text(std::move(text));
      return expr;
    }
    case Token::Type::kInteger:
      expr->constant = Value::Int(token.integer);
      stream_.Skip();
      return expr;
    case Token::Type::kFloat:
      expr->constant = Value::Float(token.real);
      stream_.Skip();
      return expr;
    default:
      break;
  }
  if (stream_.SkipOperator("(")) {
    ASSIGN_OR_RETURN(expr, ParseTuple(true, "", true));
    RETURN_IF_ERROR(stream_.ExpectOperator(")"));
    return expr;
  }
  if (stream_.IsOperator("[")) {
    return ParseList();
  }
  if (stream_.IsOperator("{")) {
    return ParseDict();
  }
  return stream_.Unexpected("an expression");
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseNamed(bool with_members) {
  const std::string name = stream_.current().text;
  ExprPtr expr = New(Expr::Type::kConstant);
  stream_.Skip();
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    expr->constant = Value::Bool(name == "true" || name == "True");
    return expr;
  }
  if (name == "none" || name == "None") {
    expr->constant = Value::None();
    return expr;
  }
  expr->type = Expr::Type::kName;
  expr->text = name;
  if (with_members && stream_.SkipOperator(".")) {
    expr->type = Expr::Type::kMember;
    ASSIGN_OR_RETURN(expr->member, ParseName());
  }
  n_loop_ += name == "loop";
  n_varargs_ += name == "varargs";
  n_kwargs_ += name == "kwargs";
  n_caller_ += name == "caller";
  return expr;
}

absl::StatusOr<std::string> ExpressionParser::ParseName() {
  const std::string name = stream_.current().text;
  RETURN_IF_ERROR(stream_.Expect(Token::Type::kName, "a name"));
  return name;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseTuple(bool with_conditional,
                                                     absl::string_view end_name,
                                                     bool in_parentheses) {
  ExprPtr tuple = New(Expr::Type::kTuple);
  bool is_tuple = false;
  while (true) {
    if (stream_.Is(Token::Type::kVariableEnd) ||
        stream_.Is(Token::Type::kBlockEnd) || stream_.IsOperator(")") ||
        (!end_name.empty() && stream_.IsName(end_name))) {
      break;
    }
    ASSIGN_OR_RETURN(ExprPtr item, ParseExpression(with_conditional));
    tuple->children.push_back(std::move(item));
    if (!stream_.SkipOperator(",")) {
      break;
    }
    is_tuple = true;
  }
  if (!is_tuple && !tuple->children.empty()) {
    return std::move(tuple->children[0]);
  }
  if (!is_tuple && !in_parentheses) {
    return stream_.Unexpected("an expression");
  }
  return Finish(std::move(tuple));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseTarget(
    bool with_members, absl::string_view end_name) {
  if (nesting_ >= kMaxNesting) {
    return stream_.Error("an expression nested too deeply");
  }
  ExprPtr tuple = New(Expr::Type::kTuple);
  bool is_tuple = false;
  while (!stream_.Is(Token::Type::kBlockEnd) && !stream_.IsOperator(")") &&
         (end_name.empty() || !stream_.IsName(end_name))) {
    ExprPtr item;
    if (stream_.SkipOperator("(")) {
      ++nesting_;
      Result inner = ParseTarget(with_members, "");
      --nesting_;
      RETURN_IF_ERROR(inner.status());
      item = *std::move(inner);
      RETURN_IF_ERROR(stream_.ExpectOperator(")"));
    } else {
      ASSIGN_OR_RETURN(item, ParsePrimary(with_members));
    }
    if (!IsTarget(*item)) {
      return stream_.Error("cannot assign to what is no name");
    }
    tuple->children.push_back(std::move(item));
    if (!stream_.SkipOperator(",")) {
      break;
    }
    is_tuple = true;
  }
  if (!is_tuple && tuple->children.size() == 1) {
    return std::move(tuple->children[0]);
  }
  if (tuple->children.empty()) {
    return stream_.Unexpected("a name");
  }
  return Finish(std::move(tuple));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseList() {
  ExprPtr list = New(Expr::Type::kList);
  RETURN_IF_ERROR(stream_.ExpectOperator("["));
  while (!stream_.IsOperator("]")) {
    ASSIGN_OR_RETURN(ExprPtr item, ParseExpression());
    list->children.push_back(std::move(item));
    if (!stream_.SkipOperator(",")) {
      break;
    }
  }
  RETURN_IF_ERROR(stream_.ExpectOperator("]"));
  return Finish(std::move(list));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseDict() {
  ExprPtr dict = New(Expr::Type::kDict);
  RETURN_IF_ERROR(stream_.ExpectOperator("{"));
  while (!stream_.IsOperator("}")) {
    ASSIGN_OR_RETURN(ExprPtr key, ParseExpression());
    RETURN_IF_ERROR(stream_.ExpectOperator(":"));
    ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
    dict->children.push_back(std::move(key));
    dict->children.push_back(std::move(value));
    if (!stream_.SkipOperator(",")) {
      break;
    }
  }
  RETURN_IF_ERROR(stream_.ExpectOperator("}"));
  return Finish(std::move(dict));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParsePostfix(ExprPtr expr) {
  while (true) {
    if (stream_.IsOperator(".") || stream_.IsOperator("[")) {
      ASSIGN_OR_RETURN(expr, ParseSubscript(std::move(expr)));
    } else if (stream_.IsOperator("(")) {
      expr = New(Expr::Type::kCall, std::move(expr));
      RETURN_IF_ERROR(ParseArguments(expr.get()));
      ASSIGN_OR_RETURN(expr, Finish(std::move(expr)));
    } else {
      return expr;
    }
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseSubscript(ExprPtr expr) {
  if (stream_.SkipOperator(".")) {
    if (stream_.Is(Token::Type::kName)) {
      expr = New(Expr::Type::kAttribute, std::move(expr));
      expr->text = stream_.current().text;
    } else if (stream_.Is(Token::Type::kInteger)) {
      ExprPtr index = New(Expr::Type::kConstant);
      index->constant = Value::Int(stream_.current().integer);
      expr = New(Expr::Type::kItem, std::move(expr), std::move(index));
    } else {
      return stream_.Unexpected("a name or a number");
    }
    stream_.Skip();
    return Finish(std::move(expr));
  }
  RETURN_IF_ERROR(stream_.ExpectOperator("["));
  ExprPtr tuple = New(Expr::Type::kTuple);
  do {
    ASSIGN_OR_RETURN(ExprPtr index, ParseIndex());
    tuple->children.push_back(std::move(index));
  } while (stream_.SkipOperator(","));
  RETURN_IF_ERROR(stream_.ExpectOperator("]"));
  if (tuple->children.size() > 1) {
    ASSIGN_OR_RETURN(tuple, Finish(std::move(tuple)));
  } else {
    tuple = std::move(tuple->children[0]);
  }
  return Finish(New(Expr::Type::kItem, std::move(expr), std::move(tuple)));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseIndex() {
  ExprPtr parts[3];
  int n_colons = 0;
  while (!stream_.IsOperator("]") && !stream_.IsOperator(",")) {
    if (n_colons < 2 && stream_.SkipOperator(":")) {
      ++n_colons;
      continue;
    }
    if (parts[n_colons] != nullptr) {
      return stream_.Unexpected("']'");
    }
    ASSIGN_OR_RETURN(parts[n_colons], ParseExpression());
  }
  if (n_colons == 0) {
    if (parts[0] == nullptr) {
      return stream_.Unexpected("an expression");
    }
    return std::move(parts[0]);
  }
  ExprPtr slice = New(Expr::Type::kSlice);
  for (ExprPtr& part : parts) {
    slice->children.push_back(std::move(part));
  }
  return Finish(std::move(slice));
}

absl::Status ExpressionParser::ParseArguments(Expr* call) {
  RETURN_IF_ERROR(stream_.ExpectOperator("("));
  while (!stream_.IsOperator(")")) {
    RETURN_IF_ERROR(ParseArgument(call));
    if (!stream_.SkipOperator(",")) {
      break;
    }
  }
  return stream_.ExpectOperator(")");
}

absl::Status ExpressionParser::ParseArgument(Expr* call) {
  if (stream_.SkipOperator("**")) {
    if (call->star_star_arguments != nullptr) {
      return stream_.Error("two ** arguments in a call");
    }
    ASSIGN_OR_RETURN(call->star_star_arguments, ParseExpression());
    return absl::OkStatus();
  }
  if (call->star_star_arguments != nullptr) {
    return stream_.Error("an argument behind **");
  }
  if (stream_.SkipOperator("*")) {
    if (call->star_arguments != nullptr) {
      return stream_.Error("two * arguments in a call");
    }
    ASSIGN_OR_RETURN(call->star_arguments, ParseExpression());
    return absl::OkStatus();
  }
  if (stream_.Is(Token::Type::kName) &&
      stream_.next().type == Token::Type::kOperator &&
      stream_.next().text == "=") {
    std::string name = stream_.current().text;
    stream_.Skip();
    stream_.Skip();
    ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
    call->named_arguments.emplace_back(std::move(name), std::move(value));
    return absl::OkStatus();
  }
  if (call->star_arguments != nullptr || !call->named_arguments.empty()) {
    return stream_.Error("a plain argument behind a named one");
  }
  ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
  call->arguments.push_back(std::move(value));
  return absl::OkStatus();
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseFiltersAndTests(ExprPtr expr) {
  while (true) {
    if (stream_.IsOperator("|")) {
      ASSIGN_OR_RETURN(expr, ParseFilters(std::move(expr), false));
    } else if (stream_.IsName("is")) {
      ASSIGN_OR_RETURN(expr, ParseTest(std::move(expr)));
    } else if (stream_.IsOperator("(")) {
      expr = New(Expr::Type::kCall, std::move(expr));
      RETURN_IF_ERROR(ParseArguments(expr.get()));
      ASSIGN_OR_RETURN(expr, Finish(std::move(expr)));
    } else {
      return expr;
    }
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseFilters(ExprPtr expr,
                                                       bool at_name) {
  while (at_name || stream_.SkipOperator("|")) {
    at_name = false;
    ExprPtr filter = New(Expr::Type::kFilter);
    filter->children.push_back(std::move(expr));
    ASSIGN_OR_RETURN(filter->text, ParseName());
    if (stream_.IsOperator("(")) {
      RETURN_IF_ERROR(ParseArguments(filter.get()));
    }
    ASSIGN_OR_RETURN(expr, Finish(std::move(filter)));
  }
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseTest(ExprPtr expr) {
  RETURN_IF_ERROR(stream_.ExpectName("is"));
  const bool negated = stream_.SkipName("not");
  ExprPtr test = New(Expr::Type::kTest, std::move(expr));
  ASSIGN_OR_RETURN(test->text, ParseName());
  if (stream_.IsOperator("(")) {
    RETURN_IF_ERROR(ParseArguments(test.get()));
  } else if (stream_.IsName("is")) {
    return stream_.Error("tests cannot be chained with 'is'");
  } else if ((stream_.Is(Token::Type::kName) && !stream_.IsName("else") &&
              !stream_.IsName("or") && !stream_.IsName("and")) ||
             stream_.Is(Token::Type::kString) ||
             stream_.Is(Token::Type::kInteger) ||
             stream_.Is(Token::Type::kFloat) || stream_.IsOperator("[") ||
             stream_.IsOperator("{")) {
    ASSIGN_OR_RETURN(ExprPtr argument, ParsePrimary(false));
    ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    test->arguments.push_back(std::move(argument));
  }
  ASSIGN_OR_RETURN(test, Finish(std::move(test)));
  if (negated) {
    return Finish(New(Expr::Type::kNot, std::move(test)));
  }
  return test;
}

}  // namespace narrow::jinja
