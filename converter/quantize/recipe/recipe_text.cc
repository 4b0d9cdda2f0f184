#include "converter/quantize/recipe/recipe_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "converter/quantize/recipe/text_proto.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/base/text/nearest.h"

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

}  // namespace

absl::StatusOr<QuantizeRecipe> ParseRecipe(absl::string_view text,
                                           absl::string_view file) {
  QuantizeRecipe recipe;
  RETURN_IF_ERROR(ParseTextProto(text, file, &recipe));
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
  RETURN_IF_ERROR(
      ParseTextProto(is_text ? absl::StrCat(fitting[0], ": \"", value, "\"")
                             : absl::StrCat(fitting[0], ": ", value),
                     "the option", &one));
  rule->MergeFrom(one);
  return absl::OkStatus();
}

}  // namespace narrow
