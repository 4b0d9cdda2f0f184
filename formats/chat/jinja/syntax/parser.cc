#include "formats/chat/jinja/syntax/parser.h"

#include <utility>

#include "formats/base/status.h"
#include "formats/chat/jinja/syntax/expression_parser.h"
#include "formats/chat/jinja/syntax/hidden_names.h"
#include "formats/chat/jinja/syntax/lexer.h"
#include "formats/chat/jinja/syntax/token_stream.h"

namespace narrow::jinja {
namespace {

constexpr int kMaxStatementDepth = 60;
// What needs other templates, or is of no use in a chat.
constexpr absl::string_view kLacking[] = {
    "extends", "include", "import", "from", "block", "autoescape", "print"};

using StmtPtr = std::unique_ptr<Stmt>;
using EndNames = std::vector<absl::string_view>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens)
      : stream_(std::move(tokens)), expressions_(&stream_) {}

  absl::StatusOr<Body> Run() {
    Body body;
    RETURN_IF_ERROR(ParseBody({}, &body));
    return body;
  }

 private:
  using Result = absl::StatusOr<StmtPtr>;

  // Statements until a block that begins with one of `ends`, which is then
  // the current token; without `ends`, until the end of the template.
  absl::Status ParseBody(const EndNames& ends, Body* body) {
    while (true) {
      const Token& token = stream_.current();
      if (token.type == Token::Type::kEnd) {
        if (!ends.empty()) {
          return stream_.Unexpected(absl::StrCat("{% ", ends.back(), " %}"));
        }
        return absl::OkStatus();
      }
      StmtPtr statement = New(Stmt::Type::kText);
      if (token.type == Token::Type::kData) {
        statement->text = token.text;
        stream_.Skip();
      } else if (token.type == Token::Type::kVariableBegin) {
        stream_.Skip();
        statement->type = Stmt::Type::kPrint;
        ASSIGN_OR_RETURN(ExprPtr expr,
                         expressions_.ParseTuple(true, "", false));
        statement->expressions.push_back(std::move(expr));
        RETURN_IF_ERROR(stream_.Expect(Token::Type::kVariableEnd, "'}}'"));
      } else {
        RETURN_IF_ERROR(stream_.Expect(Token::Type::kBlockBegin, "a block"));
        for (const absl::string_view end : ends) {
          if (stream_.IsName(end)) {
            return absl::OkStatus();
          }
        }
        ASSIGN_OR_RETURN(statement, ParseStatement());
        RETURN_IF_ERROR(stream_.Expect(Token::Type::kBlockEnd, "'%}'"));
      }
      body->statements.push_back(std::move(statement));
    }
  }

  // The rest of a block's head, then its body up to one of `ends`.
  absl::Status ParseBlock(const EndNames& ends, Body* body) {
    stream_.SkipOperator(":");
    RETURN_IF_ERROR(stream_.Expect(Token::Type::kBlockEnd, "'%}'"));
    return ParseBody(ends, body);
  }

  absl::Status ParseBlockAndEnd(absl::string_view end, Body* body) {
    RETURN_IF_ERROR(ParseBlock({end}, body));
    return stream_.ExpectName(end);
  }

  StmtPtr New(Stmt::Type type) const {
    auto statement = std::make_unique<Stmt>();
    statement->type = type;
    statement->line = stream_.current().line;
    return statement;
  }

  absl::StatusOr<StmtPtr> ParseStatement() {
    if (depth_ >= kMaxStatementDepth) {
      return stream_.Error("blocks nested too deeply");
    }
    ++depth_;
    Result statement = ParseKind();
    --depth_;
    return statement;
  }

  Result ParseKind() {
    const std::string name = stream_.current().text;
    const int line = stream_.current().line;
    RETURN_IF_ERROR(stream_.Expect(Token::Type::kName, "a statement"));
    if (name == "for") return ParseFor();
    if (name == "if") return ParseIf();
    if (name == "set") return ParseSet();
    if (name == "macro") return ParseMacro();
    if (name == "call") return ParseCall();
    if (name == "filter") return ParseFilterBlock();
    if (name == "with") return ParseWith();
    if (name == "generation") return ParseGeneration();
    if (name == "break" || name == "continue") {
      if (n_loops_ == 0) {
        return stream_.Error(absl::StrCat("{% ", name, " %} outside a loop"));
      }
      return New(name == "break" ? Stmt::Type::kBreak : Stmt::Type::kContinue);
    }
    for (const absl::string_view lacking : kLacking) {
      if (name == lacking) {
        return absl::UnimplementedError(absl::StrCat(
            "{% ", name, " %} in a chat template; at line ", line));
      }
    }
    return stream_.Error(absl::StrCat("unknown statement ", QuotedName(name)));
  }

  Result ParseFor() {
    StmtPtr loop = New(Stmt::Type::kFor);
    ASSIGN_OR_RETURN(loop->target, expressions_.ParseTarget(false, "in"));
    RETURN_IF_ERROR(stream_.ExpectName("in"));
    ASSIGN_OR_RETURN(ExprPtr iterable,
                     expressions_.ParseTuple(false, "recursive", false));
    loop->expressions.push_back(std::move(iterable));
    if (stream_.SkipName("if")) {
      ASSIGN_OR_RETURN(loop->condition, expressions_.ParseExpression());
    }
    loop->recursive = stream_.SkipName("recursive");
    const int n_loop = expressions_.n_loop();
    ++n_loops_;
    RETURN_IF_ERROR(ParseBlock({"else", "endfor"}, &loop->body));
    --n_loops_;
    loop->uses_loop = loop->recursive || expressions_.n_loop() != n_loop;
    if (stream_.SkipName("else")) {
      RETURN_IF_ERROR(ParseBlock({"endfor"}, &loop->otherwise));
    }
    RETURN_IF_ERROR(stream_.ExpectName("endfor"));
    return loop;
  }

  Result ParseIf() {
    StmtPtr statement = New(Stmt::Type::kIf);
    do {
      Stmt::Branch branch;
      ASSIGN_OR_RETURN(branch.condition,
                       expressions_.ParseTuple(false, "", false));
      RETURN_IF_ERROR(ParseBlock({"elif", "else", "endif"}, &branch.body));
      statement->branches.push_back(std::move(branch));
    } while (stream_.SkipName("elif"));
    if (stream_.SkipName("else")) {
      RETURN_IF_ERROR(ParseBlock({"endif"}, &statement->otherwise));
    }
    RETURN_IF_ERROR(stream_.ExpectName("endif"));
    return statement;
  }

  // Bodies that are functions of their own in Jinja: no break leaves them.
  absl::Status ParseOwnBody(absl::string_view end, Body* body) {
    const int n_loops = std::exchange(n_loops_, 0);
    const absl::Status status = ParseBlockAndEnd(end, body);
    n_loops_ = n_loops;
    return status;
  }

  Result ParseSet() {
    StmtPtr set = New(Stmt::Type::kSet);
    ASSIGN_OR_RETURN(set->target, expressions_.ParseTarget(true, ""));
    if (stream_.SkipOperator("=")) {
      ASSIGN_OR_RETURN(ExprPtr expr, expressions_.ParseTuple(true, "", false));
      set->expressions.push_back(std::move(expr));
      return set;
    }
    set->type = Stmt::Type::kSetBlock;
    ASSIGN_OR_RETURN(set->filter, expressions_.ParseFilters(nullptr, false));
    RETURN_IF_ERROR(ParseBlockAndEnd("endset", &set->body));
    return set;
  }

  absl::Status ParseParameters(MacroSyntax* macro) {
    RETURN_IF_ERROR(stream_.ExpectOperator("("));
    while (!stream_.IsOperator(")")) {
      ASSIGN_OR_RETURN(std::string name, expressions_.ParseName());
      macro->parameters.push_back(std::move(name));
      if (stream_.SkipOperator("=")) {
        ASSIGN_OR_RETURN(ExprPtr value, expressions_.ParseExpression());
        macro->defaults.push_back(std::move(value));
      } else if (!macro->defaults.empty()) {
        return stream_.Error(
            "a parameter without a default behind one with a default");
      }
      if (!stream_.SkipOperator(",")) {
        break;
      }
    }
    return stream_.ExpectOperator(")");
  }

  absl::Status ParseMacroBody(absl::string_view end, MacroSyntax* macro) {
    const int n_varargs = expressions_.n_varargs();
    const int n_kwargs = expressions_.n_kwargs();
    const int n_caller = expressions_.n_caller();
    RETURN_IF_ERROR(ParseOwnBody(end, &macro->body));
    macro->uses_varargs = expressions_.n_varargs() != n_varargs;
    macro->uses_kwargs = expressions_.n_kwargs() != n_kwargs;
    macro->uses_caller = expressions_.n_caller() != n_caller;
    return absl::OkStatus();
  }

  Result ParseMacro() {
    StmtPtr statement = New(Stmt::Type::kMacro);
    statement->macro = std::make_unique<MacroSyntax>();
    ASSIGN_OR_RETURN(statement->macro->name, expressions_.ParseName());
    RETURN_IF_ERROR(ParseParameters(statement->macro.get()));
    RETURN_IF_ERROR(ParseMacroBody("endmacro", statement->macro.get()));
    return statement;
  }

  Result ParseCall() {
    StmtPtr statement = New(Stmt::Type::kCall);
    statement->macro = std::make_unique<MacroSyntax>();
    statement->macro->name = "caller";
    if (stream_.IsOperator("(")) {
      RETURN_IF_ERROR(ParseParameters(statement->macro.get()));
    }
    ASSIGN_OR_RETURN(ExprPtr call, expressions_.ParseExpression());
    if (call->type != Expr::Type::kCall) {
      return stream_.Error("{% call %} of what is no call");
    }
    statement->expressions.push_back(std::move(call));
    RETURN_IF_ERROR(ParseMacroBody("endcall", statement->macro.get()));
    return statement;
  }

  Result ParseFilterBlock() {
    StmtPtr statement = New(Stmt::Type::kFilterBlock);
    ASSIGN_OR_RETURN(statement->filter,
                     expressions_.ParseFilters(nullptr, true));
    RETURN_IF_ERROR(ParseBlockAndEnd("endfilter", &statement->body));
    return statement;
  }

  Result ParseWith() {
    StmtPtr statement = New(Stmt::Type::kWith);
    while (!stream_.Is(Token::Type::kBlockEnd)) {
      if (!statement->targets.empty()) {
        RETURN_IF_ERROR(stream_.ExpectOperator(","));
      }
      ASSIGN_OR_RETURN(std::string name, expressions_.ParseName());
      auto target = std::make_unique<Expr>();
      target->type = Expr::Type::kName;
      target->text = std::move(name);
      statement->targets.push_back(std::move(target));
      RETURN_IF_ERROR(stream_.ExpectOperator("="));
      ASSIGN_OR_RETURN(ExprPtr value, expressions_.ParseExpression());
      statement->expressions.push_back(std::move(value));
    }
    RETURN_IF_ERROR(ParseBlockAndEnd("endwith", &statement->body));
    return statement;
  }

  Result ParseGeneration() {
    StmtPtr statement = New(Stmt::Type::kScope);
    RETURN_IF_ERROR(ParseOwnBody("endgeneration", &statement->body));
    return statement;
  }

  TokenStream stream_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int n_loops_ = 0;  // around this place, within its function
};

}  // namespace

absl::StatusOr<Body> ParseTemplate(absl::string_view text) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(text));
  ASSIGN_OR_RETURN(Body body, Parser(std::move(tokens)).Run());
  FindHiddenNames(&body);
  return body;
}

}  // namespace narrow::jinja
