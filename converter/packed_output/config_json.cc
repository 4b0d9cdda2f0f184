#include "converter/packed_output/config_json.h"

#include <cstddef>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "formats/base/status.h"
#include "formats/json/json.h"

namespace narrow {
namespace {

constexpr char kKey[] = "quantization_config";

// A member of the outermost object, as parts of the text.
struct Member {
  absl::string_view gap;   // white space before it
  absl::string_view text;  // key, colon and value
  bool is_ours = false;
};

// Of a text that has been parsed: strings end, brackets match.
class Scan {
 public:
  explicit Scan(absl::string_view text) : text_(text) {}

  std::vector<Member> Members() {
    std::vector<Member> members;
    at_ = text_.find('{') + 1;
    while (true) {
      const size_t gap = at_;
      SkipSpace();
      if (text_[at_] != '"') {
        return members;
      }
      Member member;
      const size_t begin = at_;
      member.gap = text_.substr(gap, begin - gap);
      SkipString();
      member.is_ours =
          text_.substr(begin, at_ - begin) == absl::StrCat("\"", kKey, "\"");
      SkipSpace();
      ++at_;  // ':'
      SkipSpace();
      SkipValue();
      member.text = text_.substr(begin, at_ - begin);
      members.push_back(member);
      SkipSpace();
      at_ += text_[at_] == ',' ? 1 : 0;
    }
  }

 private:
  void SkipSpace() {
    while (at_ < text_.size() &&
           absl::ascii_isspace(static_cast<unsigned char>(text_[at_]))) {
      ++at_;
    }
  }
  void SkipString() {
    for (++at_; text_[at_] != '"'; ++at_) {
      at_ += text_[at_] == '\\' ? 1 : 0;
    }
    ++at_;
  }
  void SkipValue() {
    int depth = 0;
    while (true) {
      const char c = text_[at_];
      const bool opens = c == '{' || c == '[';
      const bool closes = c == '}' || c == ']';
      if (c == '"') {
        SkipString();
        if (depth == 0) {
          return;
        }
        continue;
      }
      if (depth == 0 && (closes || c == ',' ||
                         absl::ascii_isspace(static_cast<unsigned char>(c)))) {
        return;  // the end of a number or word
      }
      depth += opens ? 1 : closes ? -1 : 0;
      ++at_;
      if (depth == 0 && closes) {
        return;
      }
    }
  }

  const absl::string_view text_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<std::string> SetQuantizationConfig(absl::string_view config,
                                                  absl::string_view value) {
  ASSIGN_OR_RETURN(const auto document,
                   JsonDocument::Parse(config, "config.json"));
  if (!document->root().is_object()) {
    return document->root().Error("expected an object");
  }
  const std::vector<Member> members = Scan(config).Members();
  // The white space before the last member goes before a new one too; with
  // lines, the value is indented as far.
  absl::string_view gap = "\n  ";
  if (!members.empty()) {
    gap = members.back().gap;
  }
  const size_t line = gap.rfind('\n');
  std::string indented(value);
  if (line != absl::string_view::npos) {
    indented = absl::StrReplaceAll(
        value, {{"\n", absl::StrCat("\n", gap.substr(line + 1))}});
  }
  const std::string ours = absl::StrCat("\"", kKey, "\": ", indented);

  std::string text(config.substr(0, config.find('{') + 1));
  bool is_set = value.empty();
  bool any = false;
  for (const Member& member : members) {
    if (member.is_ours && is_set) {
      continue;
    }
    absl::StrAppend(&text, any ? "," : "", member.gap,
                    member.is_ours ? absl::string_view(ours) : member.text);
    is_set = is_set || member.is_ours;
    any = true;
  }
  if (!is_set) {
    absl::StrAppend(&text, any ? "," : "", gap, ours);
  }
  absl::string_view tail = config.substr(config.rfind('}'));
  if (!members.empty()) {
    const char* end = members.back().text.end();
    tail = config.substr(static_cast<size_t>(end - config.data()));
  } else {
    text.append(is_set && value.empty() ? "" : "\n");
  }
  absl::StrAppend(&text, tail);
  return text;
}

}  // namespace narrow
