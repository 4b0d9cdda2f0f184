#include "converter/quantize/recipe/recipe_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/file.h"
#include "formats/base/nearest.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

namespace pb = google::protobuf;

constexpr int64_t kMaxRecipeBytes = 1 << 20;

std::vector<std::string> FieldNames(const pb::Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) {
    names.push_back(message.field(i)->name());
  }
  return names;
}

// The text between the first `open` after `from` and the quote after it.
absl::string_view Quoted(absl::string_view text, absl::string_view open) {
  const size_t at = text.find(open);
  if (at == absl::string_view::npos) {
    return "";
  }
  text.remove_prefix(at + open.size());
  return text.substr(0, text.find('"'));
}

// "; did you mean 'bits'?" for the parser's message of an unknown field,
// 'Message type "narrow.LayerRule" has no field named "bit".'
std::string Suggestion(absl::string_view message) {
  const absl::string_view type = Quoted(message, "Message type \"");
  const absl::string_view field = Quoted(message, "no field named \"");
  const pb::Descriptor* descriptor =
      type.empty() || field.empty()
          ? nullptr
          : pb::DescriptorPool::generated_pool()->FindMessageTypeByName(
                std::string(type));
  return descriptor == nullptr
             ? ""
             : absl::StrCat("; the nearest is '",
                            NearestName(field, FieldNames(*descriptor)), "'");
}

// Keeps the first error.
class FirstError final : public pb::io::ErrorCollector {
 public:
  void AddError(int line, pb::io::ColumnNumber column,
                const std::string& message) override {
    if (text_.empty()) {
      absl::string_view cause = message;
      absl::ConsumeSuffix(&cause, ".");
      text_ = absl::StrCat(cause, Suggestion(message), "; at line ", line + 1,
                           ", column ", column + 1);
    }
  }
  void AddWarning(int, pb::io::ColumnNumber, const std::string&) override {}
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

absl::Status Parse(absl::string_view text, absl::string_view file,
                   pb::Message* message) {
  FirstError error;
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(16);
  if (parser.ParseFromString(std::string(text), message)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      error.text().empty() ? "no recipe" : error.text(), "; reading ", file));
}

}  // namespace

absl::StatusOr<QuantizeRecipe> ParseRecipe(absl::string_view text,
                                           absl::string_view file) {
  QuantizeRecipe recipe;
  RETURN_IF_ERROR(Parse(text, file, &recipe));
  for (const Override& row : recipe.override()) {
    if (row.pattern().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("an override without a pattern; reading ", file));
    }
  }
  return recipe;
}

absl::StatusOr<QuantizeRecipe> ReadRecipe(absl::string_view path) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxRecipeBytes));
  return ParseRecipe(text, path);
}

std::string RecipeText(const QuantizeRecipe& recipe) {
  std::string text;
  pb::TextFormat::PrintToString(recipe, &text);
  return text;
}

absl::Status SetRuleField(absl::string_view name, absl::string_view value,
                          LayerRule* rule) {
  const std::vector<std::string> names = FieldNames(*LayerRule::descriptor());
  std::vector<std::string> fitting;
  for (const std::string& candidate : names) {
    if (candidate == name) {
      fitting = {candidate};
      break;
    }
    if (absl::StartsWith(candidate, name)) {
      fitting.push_back(candidate);
    }
  }
  if (name.empty() || fitting.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a rule has no field ", QuotedName(name),
                     "; the nearest is '", NearestName(name, names), "'"));
  }
  const pb::FieldDescriptor& field =
      *LayerRule::descriptor()->FindFieldByName(fitting[0]);
  const bool is_text = field.type() == pb::FieldDescriptor::TYPE_STRING;
  for (const char c : value) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' &&
        c != '_' && c != '.') {
      return absl::InvalidArgumentError(
          absl::StrCat("'", name, "' cannot be ", QuotedName(value)));
    }
  }
  LayerRule one;
  RETURN_IF_ERROR(Parse(is_text ? absl::StrCat(fitting[0], ": \"", value, "\"")
                                : absl::StrCat(fitting[0], ": ", value),
                        "the option", &one));
  rule->MergeFrom(one);
  return absl::OkStatus();
}

}  // namespace narrow
