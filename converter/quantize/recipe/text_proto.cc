#include "converter/quantize/recipe/text_proto.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"
#include "formats/base/text/nearest.h"

namespace narrow {
namespace {

namespace pb = google::protobuf;

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

}  // namespace

absl::Status ParseTextProto(absl::string_view text, absl::string_view file,
                            google::protobuf::Message* message) {
  FirstError error;
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(16);
  if (parser.ParseFromString(std::string(text), message)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      error.text().empty() ? "it is no text protobuf" : error.text(),
      "; reading ", file));
}

}  // namespace narrow
